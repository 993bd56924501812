#!lua flags=allow-oom
--{common}
-- ARGV: now, and for every settlement: id, cost, flags, manual, said, end_ms of the accounts beside, charged, beside,
-- leases; then for every account that is charged: key, end_ms; the keys of those beside; the ids of the leases.
-- What was spent is booked also when the server has no room for more.
local now, place, answers, lib = clock(ARGV[1]), 2, {}, nil
local at_ms = format('%d', now)

-- Make a lease smaller by what one of its calls cost.
local function draw(id, cost)
  lib = lib or library()
  local row = lib.known(id, now)
  local kind = row and row[1]
  if kind ~= 'O' and (kind ~= 'S' or row[4] ~= 'expired') then return end
  local drawn = math.min(cost, row[3])
  row[3] = row[3] - drawn
  if kind == 'O' then lib.add(row[6], 0, 0 - drawn) else lib.add(row[5], 0 - drawn, 0) end
  lib.write(id, row)
end

local function there(key, end_ms)
  if call('EXISTS', ACCOUNT .. key) == 0 then
    lib = lib or library()
    lib.make(key, end_ms)
  end
end

while place <= #ARGV do
  local id, cost, flags, manual, said = ARGV[place], tonumber(ARGV[place + 1]), ARGV[place + 2], ARGV[place + 3], ARGV[place + 4]
  local beside_end, charged, beside, leases = ARGV[place + 5], tonumber(ARGV[place + 6]), tonumber(ARGV[place + 7]), tonumber(ARGV[place + 8])
  local first = place + 9
  local more = first + 2 * charged
  place = more + beside + leases
  local packed = call('GET', HOLD .. id)
  local row = packed and unpacked(packed) or nil
  if row and row[1] ~= 'S' and row[2] <= now then
    lib = lib or library()
    row = lib.expire(id, row, now)
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
    local spent, back = format('%d', settled), format('%d', 0 - held)
    for _, key in ipairs(keys) do
      call('HINCRBY', ACCOUNT .. key, 's', spent)
      if held ~= 0 then call('HINCRBY', ACCOUNT .. key, 'h', back) end
    end
    if beside > 0 then
      local seen, all = {}, {}
      for _, key in ipairs(keys) do seen[key] = true end
      for at = more, more + beside - 1 do
        local key = ARGV[at]
        if not seen[key] then
          seen[key] = true
          all[#all + 1] = key
          there(key, beside_end)
          call('HINCRBY', ACCOUNT .. key, 's', ARGV[first - 8])
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
return answers
