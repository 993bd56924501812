#!lua
--{common}
-- ARGV: id, now, amount, least, useful, ttl, charge, said, terms, accounts; then for every one of the terms: key,
-- version; for every account: key, limit, enforce, share, start_ms, end_ms, windows, and the keys of its window.
-- All checks come before the first write, but for what is reaped.
local id, amount, least, useful = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now = clock(ARGV[2])
reap(now, REAP)
local row = known(id, now)
if row then
  if row[1] == 'O' then return {1, row[3]} end
  return {4}
end

local place, newer = 11, {}
for _ = 1, ARGV[9] do
  local there = call('HMGET', P .. 't:' .. ARGV[place], 'v', 'b')
  if (there[1] or '0') ~= ARGV[place + 1] then
    newer[#newer + 1] = ARGV[place]
    newer[#newer + 1] = there[1] or '0'
    newer[#newer + 1] = there[2]
  end
  place = place + 2
end
local accounts, off = {}, false
for number = 1, ARGV[10] do
  local account = {
    key = ARGV[place], limit = tonumber(ARGV[place + 1]), enforce = ARGV[place + 2], share = tonumber(ARGV[place + 3]),
    end_ms = ARGV[place + 5], window = {}
  }
  local first = tonumber(ARGV[place + 4])
  if (first and now < first) or (account.end_ms ~= '' and now >= tonumber(account.end_ms)) then off = true end
  local windows = tonumber(ARGV[place + 6])
  for at = place + 7, place + 6 + windows do account.window[#account.window + 1] = ARGV[at] end
  place = place + 7 + windows
  accounts[number] = account
end
if off or #newer > 0 then return {2, now, newer} end

local function grant(account, settled, held)
  local available = account.limit - settled - held
  if not least then return amount <= available and amount or nil end
  if least > available then return nil end
  local unspent, part = account.limit - settled, 0
  part = math.floor(unspent / account.share)
  if part * account.share > unspent then part = part - 1 end -- the division was rounded up
  part = math.max(part, useful, least)
  return math.min(amount, part, available)
end

-- The amount that the hold may take, or the refusal of the first account without room.
local function admit()
  local granted = amount
  for number, account in ipairs(accounts) do
    local sums = call('HMGET', P .. 'a:' .. account.key, 's', 'h')
    account.there = sums[1]
    if account.limit and account.enforce ~= 'observe' then
      local settled, held = tonumber(sums[1] or 0), tonumber(sums[2] or 0)
      for _, key in ipairs(account.window) do
        local earlier = call('HMGET', P .. 'a:' .. key, 's', 'h')
        settled, held = settled + tonumber(earlier[1] or 0), held + tonumber(earlier[2] or 0)
      end
      if account.enforce == 'soft' then
        if settled + held >= account.limit then
          return nil, {3, number - 1, settled, held, settled < account.limit and 1 or 0}
        end
      else
        local most = grant(account, settled, held)
        if not most then return nil, {3, number - 1, settled, held, grant(account, settled, 0) and 1 or 0} end
        granted = math.min(granted, most)
      end
    end
  end
  return granted, nil
end

local granted, refusal = admit()
local reaped = 0
while refusal do
  local more = reap(now, REAP_MORE)
  if more == 0 then return refusal end
  reaped = reaped + more
  if reaped > REAP_MOST then return {5} end -- others wait: the caller asks again
  granted, refusal = admit()
end

local keys, seen = {}, {}
for _, account in ipairs(accounts) do
  if not seen[account.key] then
    seen[account.key] = true
    keys[#keys + 1] = account.key
    if not account.there then make(account.key, account.end_ms) end
  end
end
add(keys, 0, granted)
local due = now + tonumber(ARGV[6])
write(id, {'O', due, granted, now, tonumber(ARGV[7]), keys, ARGV[8]})
call('ZADD', P .. 'd', int(due), id)
return {1, granted}
