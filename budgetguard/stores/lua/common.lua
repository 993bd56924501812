-- What all scripts share. KEYS[1] is the prefix of the namespace, whose hash tag keeps all of its keys in one slot.
--
--   <prefix>a:<key>  hash: s settled, h held, p pruned, e end_ms          <prefix>k  zset of the keys, by name
--   <prefix>t:<key>  hash: v version, b body                              <prefix>t  zset of the keys, by name
--   <prefix>h:<id>   what became of a hold, packed (below)                <prefix>d  zset of ids by due_ms
--                                                                         <prefix>e  zset of ids by the entry's at_ms
--   {"O", due, amount, placed, charge, keys, said}    open
--   {"E", due}                                        ended without an entry; forgotten when due
--   {"S", at, cost, flags, keys, said}                its entry
--
-- Lua has doubles, exact to 2^53: amounts and times are below that. They are written with %d, for Lua's own way of
-- writing a number has 14 digits, and a "-0".
local P, KEEP_MS, REAP, REAP_MORE, REAP_MOST = KEYS[1], 86400000, 4, 64, 2048
local call, pack, unpacked, format = redis.call, cmsgpack.pack, cmsgpack.unpack, string.format

local function int(number)
  return format('%d', number)
end

-- The caller's time, for tests; else the server's.
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function read(id)
  local packed = call('GET', P .. 'h:' .. id)
  if packed then return unpacked(packed) end
  return nil
end

local function write(id, row)
  call('SET', P .. 'h:' .. id, pack(row))
end

local function forget_at(id, due)
  write(id, {'E', due})
  call('ZADD', P .. 'd', int(due), id)
end

local function add(keys, settled, held)
  for _, key in ipairs(keys) do
    local account = P .. 'a:' .. key
    if settled ~= 0 then call('HINCRBY', account, 's', int(settled)) end
    if held ~= 0 then call('HINCRBY', account, 'h', int(held)) end
  end
end

local function make(key, end_ms)
  call('ZADD', P .. 'k', 0, key)
  if end_ms ~= '' then
    call('HSET', P .. 'a:' .. key, 's', 0, 'h', 0, 'p', 0, 'e', end_ms)
  else
    call('HSET', P .. 'a:' .. key, 's', 0, 'h', 0, 'p', 0)
  end
end

-- Expire an open hold that is due, or forget an ended one; what became of it.
local function expire(id, row, now)
  local due = row[2]
  if row[1] == 'O' then
    local amount, keys = row[3], row[6]
    local charge = row[5] == 1 and amount > 0
    add(keys, charge and amount or 0, 0 - amount)
    if charge then
      row = {'S', due, amount, 'expired', keys, row[7]}
      write(id, row)
      call('ZREM', P .. 'd', id)
      call('ZADD', P .. 'e', int(due), id)
      return row
    end
    if due + KEEP_MS > now then
      forget_at(id, due + KEEP_MS)
      return {'E', due + KEEP_MS}
    end
  end
  call('DEL', P .. 'h:' .. id)
  call('ZREM', P .. 'd', id)
  return nil
end

-- What became of an id, once what is due has happened; nil: never seen, or forgotten.
local function known(id, now)
  local row = read(id)
  if row and row[1] ~= 'S' and row[2] <= now then
    row = expire(id, row, now)
  end
  return row
end

-- Clear away up to so many of what is due; how many there were.
local function reap(now, most)
  local ids = call('ZRANGEBYSCORE', P .. 'd', '-inf', int(now), 'LIMIT', 0, most)
  for _, id in ipairs(ids) do
    local row = read(id)
    if row then expire(id, row, now) else call('ZREM', P .. 'd', id) end
  end
  return #ids
end

-- Accounts by key: {settled, held} that are due and not yet reaped.
local function expired(now)
  local found = {}
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'd', '-inf', int(now))) do
    local row = read(id)
    if row and row[1] == 'O' then
      local charge = row[5] == 1 and row[3] or 0
      for _, key in ipairs(row[6]) do
        local sums = found[key] or {0, 0}
        found[key] = {sums[1] + charge, sums[2] + row[3]}
      end
    end
  end
  return found
end
