#!lua flags=allow-oom
--{common}
-- ARGV: now, and for every settlement: id, cost, what was used beside dollars ('' or as in 't520r1'), flags, manual,
-- said, end_ms of the accounts beside, charged, beside, told, leases; then for every account that is charged: key,
-- end_ms; the keys of those beside; those of others of which the caller wants to be told; the ids of the leases.
-- What was spent is booked also when the server has no room for more.
-- Answers, for each, 0 or 1 (late), the cost, and what each of these accounts has settled and held then, each as a
-- number or as a list whose sum it is; or 2, and the cost and what beside it that stand.
local now, place, answers, lib = clock(ARGV[1]), 2, {}, nil
local at_ms, LARGE = format('%d', now), 1e15

-- A call like most: alone, with an open hold, and dollars only. What its commands answer is nearly all that is told.
local function settle_alone(id, cost, row, first, last)
  local held, settled, left, keys = format('%d', 0 - row[3]), {}, {}, row[6]
  for _, key in ipairs(keys) do
    settled[key] = call('HINCRBY', ACCOUNT .. key, 's', ARGV[3])
    left[key] = call('HINCRBY', ACCOUNT .. key, 'h', held)
  end
  if first <= last then -- accounts beside
    keys = {}
    for at = first, last do
      local key = ARGV[at]
      if not settled[key] then
        if call('EXISTS', ACCOUNT .. key) == 0 then library().make(key, ARGV[8]) end
        settled[key] = call('HINCRBY', ACCOUNT .. key, 's', ARGV[3])
        left[key] = tonumber(call('HGET', ACCOUNT .. key, 'h') or 0)
        keys[#keys + 1] = key
      end
    end
    for _, key in ipairs(row[6]) do keys[#keys + 1] = key end
  end
  call('ZREM', DUE, id)
  call('SET', HOLD .. id, pack({'S', now, cost, ARGV[5], keys, ARGV[7]}))
  call('ZADD', ENTRIES, at_ms, id)
  local answer, at = {0, cost}, 13
  while at <= last do
    local sum, rest = settled[ARGV[at]], left[ARGV[at]]
    if not sum or sum >= EXACT or rest >= EXACT then
      local sums = call('HMGET', ACCOUNT .. ARGV[at], 's', 'h')
      sum, rest = {sums[1] or '0'}, {sums[2] or '0'}
    end
    answer[#answer + 1] = sum
    answer[#answer + 1] = rest
    at = at + (at < first and 2 or 1)
  end
  return {answer}
end

if ARGV[4] == '' and #ARGV == 12 + 2 * ARGV[9] + ARGV[10] and tonumber(ARGV[3]) <= LARGE then
  local packed = call('GET', HOLD .. ARGV[2])
  local row = packed and unpacked(packed)
  if row and row[1] == 'O' and row[2] > now and not row[8] then
    return settle_alone(ARGV[2], tonumber(ARGV[3]), row, 13 + 2 * ARGV[9], #ARGV)
  end
end

-- What many settlements change together is changed once, at the end: accounts, and the leases that they draw on. And
-- how an account stood before is read once: {settled, held}, in digits.
local spent, given, drawn_on, stood = {}, {}, {}, {}

local function book(sums, key)
  local field, amount = 's', spent[key]
  if sums == given then field, amount = 'h', 0 - given[key] end
  call('HINCRBY', ACCOUNT .. key, field, format('%d', amount))
  stood[key] = nil
end

local function add(sums, key, amount)
  local sum = (sums[key] or 0) + amount
  if sum >= EXACT or sum <= 0 - EXACT then -- what there is goes before
    book(sums, key)
    sum = amount
  end
  sums[key] = sum
end

local function count(sums, keys, times, dollars, beside)
  for _, key in ipairs(keys) do
    local amount = beside and lib.amount(key, dollars, beside) or dollars
    if amount ~= 0 then add(sums, key, times * amount) end
  end
end

local function total(written, more)
  local sum = tonumber(written)
  if sum < EXACT and sum + more < EXACT then return sum + more end
  return {written, format('%d', more)}
end

local function tell(answer, from, to, step)
  for at = from, to, step do
    local key = ARGV[at]
    local sums = stood[key] or call('HMGET', ACCOUNT .. key, 's', 'h')
    stood[key] = sums
    answer[#answer + 1] = total(sums[1] or '0', spent[key] or 0)
    answer[#answer + 1] = total(sums[2] or '0', 0 - (given[key] or 0))
  end
end

local function put(id)
  if drawn_on[id] then
    lib.write(id, drawn_on[id])
    drawn_on[id] = nil
  end
end

-- Expire what is due, which changes accounts at once.
local function expired(id, row)
  lib, stood = lib or library(), {}
  return lib.expire(id, row, now)
end

-- Make a lease smaller by what one of its calls used.
local function draw(id, cost, used)
  lib = lib or library()
  local row = drawn_on[id] or lib.read(id)
  if row and row[1] ~= 'S' and row[2] <= now then row = expired(id, row) end
  local kind = row and row[1]
  if kind ~= 'O' and (kind ~= 'S' or row[4] ~= 'expired') then return end
  local keys, beside = lib.parts(row)
  local drawn, more = math.min(cost, row[3]), lib.counted(keys, beside)
  row[3] = row[3] - drawn
  for unit, amount in pairs(more or {}) do
    more[unit] = math.min(used and used[unit] or (unit == 'r' and 1 or 0), amount)
    beside[unit] = amount - more[unit]
  end
  if kind == 'O' then count(given, keys, 1, drawn, more) else count(spent, keys, -1, drawn, more) end
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
local function is_full(from, to, step, cost, used)
  for at = from, to, step do
    local key = ARGV[at]
    local amount = used and lib.amount(key, cost, used) or cost
    local settled = amount > LARGE and tonumber(call('HGET', ACCOUNT .. key, 's') or 0) + (spent[key] or 0) or 0
    if settled + amount > 2 ^ 62 then return true end
  end
  return false
end

while place <= #ARGV do
  local id, cost, used = ARGV[place], tonumber(ARGV[place + 1]), nil
  local flags, manual, said = ARGV[place + 3], ARGV[place + 4], ARGV[place + 5]
  local beside_end, charged, beside = ARGV[place + 6], tonumber(ARGV[place + 7]), tonumber(ARGV[place + 8])
  local others, leases = tonumber(ARGV[place + 9]), tonumber(ARGV[place + 10])
  if ARGV[place + 2] ~= '' then
    lib = lib or library()
    used = lib.said(ARGV[place + 2])
  end
  local first = place + 11
  local more = first + 2 * charged
  local drawn = more + beside + others
  place = drawn + leases
  put(id)
  local packed = call('GET', HOLD .. id)
  local row = packed and unpacked(packed) or nil
  if row and row[1] ~= 'S' and row[2] <= now then row = expired(id, row) end
  if (cost > LARGE or used and (used.t > LARGE or used.r > LARGE)) and not (row and row[1] == 'S') then
    if is_full(first, more - 1, 2, cost, used) or is_full(more, more + beside - 1, 1, cost, used) then
      finish()
      return redis.error_reply('AMOUNT an account has taken all that it can count')
    end
  end
  local late, keys, stands, answer = false, nil, true, nil
  if row and row[1] == 'S' and row[4] ~= 'expired' then
    local usual = {t = 0, r = 1}
    local said, booked = used or usual, row[7] or usual
    local tokens, requests = booked.t or 0, booked.r or 1
    stands = row[3] == cost and tokens == said.t and requests == said.r
    answer = stands and {string.find(' ' .. row[4] .. ' ', ' late ', 1, true) and 1 or 0, cost}
      or {2, row[3], 't', tokens, 'r', requests}
  else
    if row and row[1] ~= 'E' then
      lib, late = lib or library(), row[1] == 'S'
      local held
      keys, held = lib.parts(row)
      if held and held.k then used = used or {t = 0, r = 1} end
      if late then count(spent, keys, -1, row[3], held) else count(given, keys, 1, row[3], held) end
      call('ZREM', late and ENTRIES or DUE, id)
    else
      late, keys = row ~= nil or (charged > 0 and manual == '0'), {}
      for at = first, more - 1, 2 do
        keys[#keys + 1] = ARGV[at]
        there(ARGV[at], ARGV[at + 1])
      end
      if row then call('ZREM', DUE, id) end
    end
    count(spent, keys, 1, cost, used)
    if beside > 0 then
      local seen, all = {}, {}
      for _, key in ipairs(keys) do seen[key] = true end
      for at = more, more + beside - 1 do
        local key = ARGV[at]
        if not seen[key] then
          seen[key] = true
          all[#all + 1] = key
          there(key, beside_end)
        end
      end
      count(spent, all, 1, cost, used)
      for _, key in ipairs(keys) do all[#all + 1] = key end
      keys = all
    end
    if late then flags = flags == '' and 'late' or flags .. ' late' end
    row = {'S', now, cost, flags, keys, said}
    if used then lib.fill(row, keys, used) end
    call('SET', HOLD .. id, pack(row))
    call('ZADD', ENTRIES, at_ms, id)
    for at = drawn, place - 1 do draw(ARGV[at], cost, used) end
    answer = {late and 1 or 0, cost}
  end
  if stands then
    tell(answer, first, more - 1, 2)
    tell(answer, more, drawn - 1, 1)
  end
  answers[#answers + 1] = answer
end
finish()
return answers
