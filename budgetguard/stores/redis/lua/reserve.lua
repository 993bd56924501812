#!lua
--{common}
-- ARGV: id, now, amount, least, useful, ttl, charge, said, what is wanted in other units of the accounts, terms,
-- accounts; then for every one of the terms: key, version; for every account: key, limit, enforce, share, start_ms,
-- end_ms, over_ms, windows, the keys of its window. Other units: '' or 't5000:100:0r1::0', each with amount, least (or
-- nothing) and useful.
-- All checks come before the first write, but for what is reaped.
-- Answers, for a hold that is there: 1 (placed by this) or 6 (before), its amount, of each account what is settled and
-- held with its window (before this was placed), and what it holds in other units.
local REAP, REAP_MORE, REAP_MOST = 4, 64, 2048
local id, dollars = ARGV[1], {tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])}
local now, lib, wanted = clock(ARGV[2]), nil, nil
local accounts_at = 12 + 2 * ARGV[10]

-- What an account and those of its window have settled and held; and whether it is there.
local function standing(at)
  local sums = call('HMGET', ACCOUNT .. ARGV[at], 's', 'h')
  local settled, held = tonumber(sums[1] or 0), tonumber(sums[2] or 0)
  for each = at + 8, at + 7 + ARGV[at + 7] do
    local earlier = call('HMGET', ACCOUNT .. ARGV[each], 's', 'h')
    settled, held = settled + tonumber(earlier[1] or 0), held + tonumber(earlier[2] or 0)
  end
  return settled, held, sums[1]
end

-- The same sum as it is answered: a list of its parts if it is more than a number here keeps exact.
local function told(sum, at, field)
  if sum < EXACT then return sum end
  local parts = {call('HGET', ACCOUNT .. ARGV[at], field) or '0'}
  for each = at + 8, at + 7 + ARGV[at + 7] do
    parts[#parts + 1] = call('HGET', ACCOUNT .. ARGV[each], field) or '0'
  end
  return parts
end

local due = call('ZCOUNT', DUE, '-inf', format('%d', now))
if due > 0 or call('ZCOUNT', DUE, format('%d', LATER), format('%d', LATER + now)) > 0 then
  lib = library()
  lib.reap(now, REAP)
end
if call('EXISTS', HOLD .. id) == 1 then
  lib = lib or library()
  local row = lib.known(id, now)
  if row and row[1] == 'O' then
    local at, sums = accounts_at, {}
    for number = 1, ARGV[11] do
      local settled, held = standing(at)
      sums[2 * number - 1], sums[2 * number] = told(settled, at, 's'), told(held, at, 'h')
      at = at + 8 + ARGV[at + 7]
    end
    return {6, row[3], sums, lib.told(row[8])}
  end
  if row then return {4} end
end

local newer = nil
for place = 12, accounts_at - 1, 2 do
  local version = call('HGET', P .. 't:' .. ARGV[place], 'v') or '0'
  if version ~= ARGV[place + 1] then
    newer = newer or {}
    newer[#newer + 1] = {ARGV[place], version, call('HGET', P .. 't:' .. ARGV[place], 'b')}
  end
end

if ARGV[9] ~= '' then
  lib, wanted = lib or library(), {}
  for unit, most, fewest, enough in string.gmatch(ARGV[9], '(%a)(%d+):(%-?%d*):(%-?%d+)') do
    wanted[unit] = {tonumber(most), tonumber(fewest), tonumber(enough)}
  end
end

local function grant(want, limit, share, settled, held)
  local most, fewest, enough, available = want[1], want[2], want[3], limit - settled - held
  if not fewest then return most <= available and most or nil end
  if fewest > available then return nil end
  local unspent = limit - settled
  local part = math.floor(unspent / share)
  if part * share > unspent then part = part - 1 end -- the division was rounded up
  return math.min(most, math.max(part, enough, fewest), available)
end

-- The amount that the hold may take and what beside it, or the refusal of the first account without room; the accounts,
-- how they stand, and which are to be made.
local function admit(at)
  local granted, beside, keys, sums, new = dollars[1], nil, {}, {}, nil
  if wanted then
    beside = {}
    for unit, each in pairs(wanted) do beside[unit] = each[1] end
  end
  for number = 1, ARGV[11] do
    local key, limit, enforce = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
    local settled, held, there = standing(at)
    if not there then
      new = new or {}
      new[#new + 1] = number
      new[key] = new[key] or ARGV[at + 6]
    end
    keys[number] = key
    sums[2 * number - 1] = settled < EXACT and settled or told(settled, at, 's')
    sums[2 * number] = held < EXACT and held or told(held, at, 'h')
    if limit and enforce ~= 'observe' then
      if enforce == 'soft' then
        if settled + held >= limit then return nil, {3, number - 1, settled, held, settled < limit and 1 or 0} end
      else
        local share, unit = tonumber(ARGV[at + 3]), wanted and lib.unit(key)
        local want = unit and wanted[unit] or dollars
        local most = grant(want, limit, share, settled, held)
        if not most then
          return nil, {3, number - 1, settled, held, grant(want, limit, share, settled, 0) and 1 or 0}
        end
        if unit then beside[unit] = math.min(beside[unit], most) elseif most < granted then granted = most end
      end
    end
    at = at + 8 + ARGV[at + 7]
  end
  return granted, beside, keys, sums, new
end

local function off_clock(at)
  for _ = 1, ARGV[11] do
    local first, last = ARGV[at + 4], ARGV[at + 5]
    if (first ~= '' and now < tonumber(first)) or (last ~= '' and now >= tonumber(last)) then return true end
    at = at + 8 + tonumber(ARGV[at + 7])
  end
  return false
end

if newer or off_clock(accounts_at) then return {2, now, newer or {}} end
local granted, beside, keys, sums, new = admit(accounts_at)
local reaped = 0
while not granted do
  lib = lib or library()
  local more = lib.reap(now, REAP_MORE)
  if more == 0 then return beside end
  reaped = reaped + more
  if reaped > REAP_MOST then return {5} end -- others wait: the caller asks again
  granted, beside, keys, sums, new = admit(accounts_at)
end

if new then
  lib = lib or library()
  for _, number in ipairs(new) do
    local key = keys[number]
    if new[key] then lib.make(key, new[key]) end
    new[key] = nil
  end
end
if #keys > 1 then -- an account that is named twice is charged once
  local seen, once = {}, {}
  for _, key in ipairs(keys) do
    if not seen[key] then
      seen[key] = true
      once[#once + 1] = key
    end
  end
  keys = once
end
due = now + tonumber(ARGV[6])
local row = {'O', due, granted, now, tonumber(ARGV[7]), keys, ARGV[8]}
if beside then
  lib.fill(row, keys, beside)
  lib.add(row, 0, 1)
  lib.write_open(id, row)
  return {1, granted, sums, lib.told(beside)}
end
local held = format('%d', granted)
for _, key in ipairs(keys) do call('HINCRBY', ACCOUNT .. key, 'h', held) end
call('SET', HOLD .. id, pack(row))
call('ZADD', DUE, format('%d', due), id)
return {1, granted, sums}
