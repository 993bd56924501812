-- What all scripts share. KEYS[1] is the prefix of the namespace, whose hash tag keeps all of its keys in one slot.
--
--   <prefix>a:<key>  hash: s settled, h held, p pruned, e end_ms          <prefix>k  zset of the keys, by name
--   <prefix>t:<key>  hash: v version, b body                              <prefix>t  zset of the keys, by name
--   <prefix>h:<id>   what became of a hold, packed (below)                <prefix>d  zset of ids by due_ms
--                                                                         <prefix>e  zset of ids by the entry's at_ms
--   {"O", due, amount, placed, charge, keys, said}    open
--   {"E", due, lapsed}                                ended without an entry, if 1 by itself; forgotten when due
--   {"S", at, cost, flags, keys, said}                its entry
--
-- Lua has doubles, exact to 2^53: amounts and times are below that, and sums are kept in parts that are. They are
-- written with %d, for Lua's own way of writing a number has 14 digits, and a "-0".
local P, KEEP_MS, EXACT = KEYS[1], 86400000, 2 ^ 53
local call, pack, unpacked, format = redis.call, cmsgpack.pack, cmsgpack.unpack, string.format
local HOLD, ACCOUNT, DUE, ENTRIES = P .. 'h:', P .. 'a:', P .. 'd', P .. 'e'

-- The caller's time, for tests; else the server's.
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Everything else is made only when it is called for: most calls of a script need none of it.
local function library()
  local it = {}

  function it.read(id)
    local packed = call('GET', HOLD .. id)
    if packed then return unpacked(packed) end
    return nil
  end

  function it.write(id, row)
    call('SET', HOLD .. id, pack(row))
  end

  function it.forget_at(id, due, lapsed)
    it.write(id, {'E', due, lapsed})
    call('ZADD', DUE, format('%d', due), id)
  end

  function it.add(keys, settled, held)
    for _, key in ipairs(keys) do
      if settled ~= 0 then call('HINCRBY', ACCOUNT .. key, 's', format('%d', settled)) end
      if held ~= 0 then call('HINCRBY', ACCOUNT .. key, 'h', format('%d', held)) end
    end
  end

  function it.make(key, end_ms)
    call('ZADD', P .. 'k', 0, key)
    if end_ms ~= '' then
      call('HSET', ACCOUNT .. key, 's', 0, 'h', 0, 'p', 0, 'e', end_ms)
    else
      call('HSET', ACCOUNT .. key, 's', 0, 'h', 0, 'p', 0)
    end
  end

  -- Expire an open hold that is due, or forget an ended one; what became of it.
  function it.expire(id, row, now)
    local due = row[2]
    if row[1] == 'O' then
      local amount, keys = row[3], row[6]
      local charge = row[5] == 1 and amount > 0
      it.add(keys, charge and amount or 0, 0 - amount)
      if charge then
        row = {'S', due, amount, 'expired', keys, row[7]}
        it.write(id, row)
        call('ZREM', DUE, id)
        call('ZADD', ENTRIES, format('%d', due), id)
        return row
      end
      if due + KEEP_MS > now then
        it.forget_at(id, due + KEEP_MS, 1)
        return {'E', due + KEEP_MS, 1}
      end
    end
    call('DEL', HOLD .. id)
    call('ZREM', DUE, id)
    return nil
  end

  -- What became of an id, once what is due has happened; nil: never seen, or forgotten.
  function it.known(id, now)
    local row = it.read(id)
    if row and row[1] ~= 'S' and row[2] <= now then return it.expire(id, row, now) end
    return row
  end

  -- Clear away up to so many of what is due; how many there were.
  function it.reap(now, most)
    local ids = call('ZRANGEBYSCORE', DUE, '-inf', format('%d', now), 'LIMIT', 0, most)
    for _, id in ipairs(ids) do
      local row = it.read(id)
      if row then it.expire(id, row, now) else call('ZREM', DUE, id) end
    end
    return #ids
  end

  -- Accounts by key: {settled, held} that are due and not yet reaped, each a list whose sum it is.
  function it.expired(now)
    local found = {}
    local function add(parts, amount)
      local sum = parts[#parts] + amount
      if sum < EXACT then parts[#parts] = sum else parts[#parts + 1] = amount end
    end
    for _, id in ipairs(call('ZRANGEBYSCORE', DUE, '-inf', format('%d', now))) do
      local row = it.read(id)
      if row and row[1] == 'O' then
        local charge = row[5] == 1 and row[3] or 0
        for _, key in ipairs(row[6]) do
          found[key] = found[key] or {{0}, {0}}
          add(found[key][1], charge)
          add(found[key][2], row[3])
        end
      end
    end
    return found
  end

  return it
end
