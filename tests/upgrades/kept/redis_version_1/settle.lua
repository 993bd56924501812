#!lua flags=allow-oom
--{common}
-- ARGV: now, and for every settlement: id, cost, flags, manual, said, end_ms of the accounts beside, charged, beside,
-- leases; then for every account that is charged: key, end_ms; the keys of those beside; the ids of the leases.
-- What was spent is booked also when the server has no room for more.
local now, place, answers, lib = clock(ARGV[1]), 2, {}, nil
local at_ms = format('%d', now)

-- What many settlements change together is changed once, at the end: accounts, and the leases that they draw on.
local spent, given, drawn_on = {}, {}, {}

local function book(sums, key)
  if sums == spent then
    call('HINCRBY', ACCOUNT .. key, 's', format('%d', spent[key]))
  else
    call('HINCRBY', ACCOUNT .. key, 'h', format('%d', 0 - given[key]))
  end
end

local function add(sums, key, amount)
  local sum = (sums[key] or 0) + amount
  if sum >= EXACT or sum <= 0 - EXACT then -- what there is goes before
    book(sums, key)
    sum = amount
  end
  sums[key] = sum
end

local function count(sums, keys, amount)
  if amount == 0 then return end
  for _, key in ipairs(keys) do add(sums, key, amount) end
end

local function put(id)
  if drawn_on[id] then
    lib.write(id, drawn_on[id])
    drawn_on[id] = nil
  end
end

-- Make a lease smaller by what one of its calls cost.
local function draw(id, cost)
  lib = lib or library()
  local row = drawn_on[id] or lib.known(id, now)
  local kind = row and row[1]
  if kind ~= 'O' and (kind ~= 'S' or row[4] ~= 'expired') then return end
  local drawn = math.min(cost, row[3])
  row[3] = row[3] - drawn
  if kind == 'O' then count(given, row[6], drawn) else count(spent, row[5], 0 - drawn) end
  drawn_on[id] = row
end

local function there(key, end_ms)
  if call('EXISTS', ACCOUNT .. key) == 0 then
    lib = lib or library()
    lib.make(key, end_ms)
  end
end

local function finish()
  for id in pairs(drawn_on) do put(id) end
  for key in pairs(spent) do book(spent, key) end
  for key in pairs(given) do book(given, key) end
end

-- Whether an account cannot count so much more: HINCRBY would fail half way.
local function is_full(from, to, step, cost)
  for at = from, to, step do
    local key = ARGV[at]
    if tonumber(call('HGET', ACCOUNT .. key, 's') or 0) + (spent[key] or 0) + cost > 2 ^ 62 then return true end
  end
  return false
end

while place <= #ARGV do
  local id, cost, flags, manual, said = ARGV[place], tonumber(ARGV[place + 1]), ARGV[place + 2], ARGV[place + 3], ARGV[place + 4]
  local beside_end, charged, beside, leases = ARGV[place + 5], tonumber(ARGV[place + 6]), tonumber(ARGV[place + 7]), tonumber(ARGV[place + 8])
  local first = place + 9
  local more = first + 2 * charged
  place = more + beside + leases
  put(id)
  local packed = call('GET', HOLD .. id)
  local row = packed and unpacked(packed) or nil
  if row and row[1] ~= 'S' and row[2] <= now then
    lib = lib or library()
    row = lib.expire(id, row, now)
  end
  if cost > 1e15 and not (row and row[1] == 'S') then
    if is_full(first, more - 1, 2, cost) or is_full(more, more + beside - 1, 1, cost) then
      finish()
      return redis.error_reply('AMOUNT an account has taken all that it can count')
    end
  end
  local late, keys, settled, held, repeated = false, nil, cost, 0, false
  if row and row[1] == 'O' then
    keys, held = row[6], row[3]
    call('ZREM', DUE, id)
  elseif row and row[1] == 'S' then
    if row[4] == 'expired' then
      late, keys, settled = true, row[5], cost - row[3]
      call('ZREM', ENTRIES, id)
    else
      repeated = true
      answers[#answers + 1] = row[3] ~= cost and 2 or string.find(' ' .. row[4] .. ' ', ' late ', 1, true) and 1 or 0
      answers[#answers + 1] = row[3]
    end
  else
    late = row ~= nil or (charged > 0 and manual == '0')
    keys = {}
    for at = first, more - 1, 2 do
      keys[#keys + 1] = ARGV[at]
      there(ARGV[at], ARGV[at + 1])
    end
    if row then call('ZREM', DUE, id) end
  end
  if not repeated then
    count(spent, keys, settled)
    count(given, keys, held)
    if beside > 0 then
      local seen, all = {}, {}
      for _, key in ipairs(keys) do seen[key] = true end
      for at = more, more + beside - 1 do
        local key = ARGV[at]
        if not seen[key] then
          seen[key] = true
          all[#all + 1] = key
          there(key, beside_end)
          add(spent, key, cost)
        end
      end
      for _, key in ipairs(keys) do all[#all + 1] = key end
      keys = all
    end
    if late then flags = flags == '' and 'late' or flags .. ' late' end
    call('SET', HOLD .. id, pack({'S', now, cost, flags, keys, said}))
    call('ZADD', ENTRIES, at_ms, id)
    for at = more + beside, place - 1 do draw(ARGV[at], cost) end
    answers[#answers + 1] = late and 1 or 0
    answers[#answers + 1] = cost
  end
end
finish()
return answers
