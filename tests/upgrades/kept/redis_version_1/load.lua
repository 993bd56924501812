#!lua
--{common}
local lib = library()
-- ARGV: now, how many terms, how many accounts; terms: key, version, whether there is a body, body; accounts: key,
-- end_ms or '', pruned; then for every entry: id, at_ms, cost, flags, what was said, how many keys, keys.
local now, terms, accounts, place = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), 4

local function need(key)
  if call('EXISTS', ACCOUNT .. key) == 0 then lib.make(key, '') end
end

for _ = 1, terms do
  local key, at = ARGV[place], P .. 't:' .. ARGV[place]
  if tonumber(ARGV[place + 1]) > tonumber(call('HGET', at, 'v') or '0') then
    call('HSET', at, 'v', ARGV[place + 1])
    if ARGV[place + 2] == '1' then call('HSET', at, 'b', ARGV[place + 3]) else call('HDEL', at, 'b') end
    call('ZADD', P .. 't', 0, key)
  end
  place = place + 4
end

for _ = 1, accounts do
  local key, at, end_ms, pruned = ARGV[place], ACCOUNT .. ARGV[place], ARGV[place + 1], ARGV[place + 2]
  need(key)
  -- Sums may be larger than what Lua keeps exact, so they are added as they are written.
  local before = call('HGET', at, 'p')
  if before ~= '0' then call('HINCRBY', at, 's', '-' .. before) end
  call('HINCRBY', at, 's', pruned)
  call('HSET', at, 'p', pruned)
  if end_ms == '' then call('HDEL', at, 'e') else call('HSET', at, 'e', end_ms) end
  place = place + 3
end

-- Take away what there is of an id; `false`: it has an entry that stands.
local function give_way(id)
  local row = lib.known(id, now)
  if not row then return true end
  if row[1] == 'S' then
    if row[4] ~= 'expired' then return false end
    lib.add(row[5], 0 - row[3], 0)
    call('ZREM', ENTRIES, id)
    return true
  end
  if row[1] == 'O' then lib.add(row[6], 0, 0 - row[3]) end
  call('ZREM', DUE, id)
  return true
end

while place <= #ARGV do
  local id, at_ms, cost, count = ARGV[place], ARGV[place + 1], ARGV[place + 2], tonumber(ARGV[place + 5])
  if give_way(id) then
    local keys = {}
    for at = place + 6, place + 5 + count do
      need(ARGV[at])
      call('HINCRBY', ACCOUNT .. ARGV[at], 's', cost)
      keys[#keys + 1] = ARGV[at]
    end
    lib.write(id, {'S', tonumber(at_ms), tonumber(cost), ARGV[place + 3], keys, ARGV[place + 4]})
    call('ZADD', ENTRIES, at_ms, id)
  end
  place = place + 6 + count
end
return 1
