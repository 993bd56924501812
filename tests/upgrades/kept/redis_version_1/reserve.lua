#!lua
--{common}
-- ARGV: id, now, amount, least, useful, ttl, charge, said, terms, accounts; then for every one of the terms: key,
-- version; for every account: key, limit, enforce, share, start_ms, end_ms, over_ms, windows, the keys of its window.
-- All checks come before the first write, but for what is reaped.
local REAP, REAP_MORE, REAP_MOST = 4, 64, 2048
local id, amount, least, useful = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now, lib = clock(ARGV[2]), nil
if #call('ZRANGEBYSCORE', DUE, '-inf', format('%d', now), 'LIMIT', 0, 1) > 0 then
  lib = library()
  lib.reap(now, REAP)
end
if call('EXISTS', HOLD .. id) == 1 then
  lib = lib or library()
  local row = lib.known(id, now)
  if row and row[1] == 'O' then return {1, row[3]} end
  if row then return {4} end
end

local place, newer = 11, nil
for _ = 1, ARGV[9] do
  local version = call('HGET', P .. 't:' .. ARGV[place], 'v') or '0'
  if version ~= ARGV[place + 1] then
    newer = newer or {}
    newer[#newer + 1] = {ARGV[place], version, call('HGET', P .. 't:' .. ARGV[place], 'b')}
  end
  place = place + 2
end

local function grant(limit, share, settled, held)
  local available = limit - settled - held
  if not least then return amount <= available and amount or nil end
  if least > available then return nil end
  local unspent = limit - settled
  local part = math.floor(unspent / share)
  if part * share > unspent then part = part - 1 end -- the division was rounded up
  return math.min(amount, math.max(part, useful, least), available)
end

-- The amount that the hold may take, or the refusal of the first account without room; and the accounts to be made.
local function admit(at)
  local granted, keys, new = amount, {}, nil
  for number = 1, ARGV[10] do
    local key, limit, enforce, windows = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 7])
    local sums = call('HMGET', ACCOUNT .. key, 's', 'h')
    if not sums[1] then
      new = new or {}
      new[#new + 1] = number
      new[key] = new[key] or ARGV[at + 6]
    end
    keys[number] = key
    if limit and enforce ~= 'observe' then
      local settled, held = tonumber(sums[1] or 0), tonumber(sums[2] or 0)
      for each = at + 8, at + 7 + windows do
        local earlier = call('HMGET', ACCOUNT .. ARGV[each], 's', 'h')
        settled, held = settled + tonumber(earlier[1] or 0), held + tonumber(earlier[2] or 0)
      end
      if enforce == 'soft' then
        if settled + held >= limit then return nil, {3, number - 1, settled, held, settled < limit and 1 or 0} end
      else
        local share = tonumber(ARGV[at + 3])
        local most = grant(limit, share, settled, held)
        if not most then return nil, {3, number - 1, settled, held, grant(limit, share, settled, 0) and 1 or 0} end
        if most < granted then granted = most end
      end
    end
    at = at + 8 + windows
  end
  return granted, keys, new
end

local function off_clock(at)
  for _ = 1, ARGV[10] do
    local first, last = ARGV[at + 4], ARGV[at + 5]
    if (first ~= '' and now < tonumber(first)) or (last ~= '' and now >= tonumber(last)) then return true end
    at = at + 8 + tonumber(ARGV[at + 7])
  end
  return false
end

if newer or off_clock(place) then return {2, now, newer or {}} end
local granted, keys, new = admit(place)
local reaped = 0
while not granted do
  lib = lib or library()
  local more = lib.reap(now, REAP_MORE)
  if more == 0 then return keys end
  reaped = reaped + more
  if reaped > REAP_MOST then return {5} end -- others wait: the caller asks again
  granted, keys, new = admit(place)
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
local held, due = format('%d', granted), now + tonumber(ARGV[6])
for _, key in ipairs(keys) do call('HINCRBY', ACCOUNT .. key, 'h', held) end
call('SET', HOLD .. id, pack({'O', due, granted, now, tonumber(ARGV[7]), keys, ARGV[8]}))
call('ZADD', DUE, format('%d', due), id)
return {1, granted}
