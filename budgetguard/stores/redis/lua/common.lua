-- What all scripts share. KEYS[1] is the prefix of the namespace, whose hash tag keeps all of its keys in one slot.
--
--   <prefix>a:<key>  hash: s settled, h held, p pruned, e end_ms          <prefix>k  zset of the keys, by name
--   <prefix>t:<key>  hash: v version, b body                              <prefix>t  zset of the keys, by name
--   <prefix>h:<id>   what became of a hold, packed (below)                <prefix>d  zset of ids by due_ms
--                                                                         <prefix>e  zset of ids by the entry's at_ms
--   <prefix>n:<kind> hash: records by their ids, "at until body"          <prefix>r:<kind>  zset of the ids, by name
--                                                                         <prefix>o  zset of "kind:id" by when it is over
--   {"O", due, amount, placed, charge, keys, said, beside}   open
--   {"E", due, lapsed}                       ended without an entry, if 1 by itself; forgotten when due
--   {"S", at, cost, flags, keys, said, beside}               its entry
--
-- Amount and cost are dollars, keys those of the accounts in dollars. `beside` is there if there is more to say:
-- {t = tokens, r = requests, p = 1 while it is open, if an account counts places, k = all keys in their order, with 0 for the next of those in dollars}; without an account
-- that counts them there is no `k`. A hold with one is in <prefix>d LATER than it is due. So scripts of versions that
-- knew dollars only, which may run beside these, find what they know where they know it, and end no hold of which they
-- know a part.
--
-- Lua has doubles, exact to 2^53: amounts and times are below that, and sums are kept in parts that are. They are
-- written with %d, for Lua's own way of writing a number has 14 digits, and a "-0".
local P, KEEP_MS, EXACT, LATER = KEYS[1], 86400000, 2 ^ 53, 2 ^ 52
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

  function it.write_open(id, row)
    it.write(id, row)
    call('ZADD', DUE, format('%d', row[8] and row[2] + LATER or row[2]), id)
  end

  -- What an account counts beside dollars, by its key: 't', 'r', 'p', or nil.
  function it.unit(key)
    if string.sub(key, -7) == '#tokens' then return 't' end
    local last = string.sub(key, -9)
    return last == '#requests' and 'r' or last == '#parallel' and 'p' or nil
  end

  -- The amount that an account counts, of dollars and what is beside them; no entry has a place.
  function it.amount(key, dollars, beside)
    local unit = beside and it.unit(key)
    if unit == 'p' then return beside.p or 0 end
    return unit and beside[unit] or dollars
  end

  -- What a caller says of other units, such as 't520r1'; '': nothing.
  function it.said(text)
    if text == '' then return nil end
    local beside = {}
    for unit, amount in string.gmatch(text, '(%a)(%d+)') do beside[unit] = tonumber(amount) end
    return beside
  end

  -- And how it is told: {'t', 520, 'r', 1}.
  function it.told(beside)
    local told = {}
    for _, unit in ipairs({'t', 'r', 'p'}) do
      if beside and beside[unit] then
        told[#told + 1] = unit
        told[#told + 1] = beside[unit]
      end
    end
    return told
  end

  -- The keys of an open hold or an entry, in their order, and what it counts beside dollars.
  function it.parts(row)
    local at = row[1] == 'O' and 6 or 5
    local keys, beside = row[at], row[at + 2]
    if not (beside and beside.k) then return keys, beside end
    local all, place = {}, 0
    for number, key in ipairs(beside.k) do
      if key == 0 then
        place = place + 1
        key = keys[place]
      end
      all[number] = key
    end
    return all, beside
  end

  -- Put keys, and what is counted beside dollars, into an open hold or an entry.
  function it.fill(row, keys, beside)
    local dollars, order = {}, {}
    for number, key in ipairs(keys) do
      order[number] = it.unit(key) and key or 0
      if order[number] == 0 then dollars[#dollars + 1] = key end
    end
    if #dollars < #keys then
      beside.k = order
    elseif beside and (row[1] == 'O' or (beside.t == 0 and beside.r == 1)) then
      beside = nil
    end
    local at = row[1] == 'O' and 6 or 5
    row[at], row[at + 2] = dollars, beside
    return row
  end

  -- Of what is beside dollars: what some of these accounts count, or nil.
  function it.counted(keys, beside)
    local found = nil
    for _, key in ipairs(beside and beside.k and keys or {}) do
      local unit = it.unit(key)
      if unit then
        found = found or {}
        found[unit] = beside[unit]
      end
    end
    return found
  end

  -- Add what an open hold or an entry counts for, so many times each, to what its accounts have settled and hold.
  function it.add(row, settled, held)
    local keys, beside = it.parts(row)
    for _, key in ipairs(keys) do
      local amount = it.amount(key, row[3], beside)
      if settled * amount ~= 0 then call('HINCRBY', ACCOUNT .. key, 's', format('%d', settled * amount)) end
      if held * amount ~= 0 then call('HINCRBY', ACCOUNT .. key, 'h', format('%d', held * amount)) end
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
      local beside = row[8] or {}
      local charge = row[5] == 1 and (row[3] > 0 or (beside.t or 0) > 0 or (beside.r or 0) > 0)
      it.add(row, 0, -1)
      if charge then
        row = {'S', due, row[3], 'expired', row[6], row[7], row[8]}
        if row[7] then row[7].p = nil end
        it.add(row, 1, 0)
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

  -- Up to so many ids that are due (-1: all), in the order of (due, id).
  function it.due(now, most)
    local ids = call('ZRANGEBYSCORE', DUE, '-inf', format('%d', now), 'LIMIT', 0, most)
    local more = call('ZRANGEBYSCORE', DUE, format('%d', LATER), format('%d', LATER + now), 'LIMIT', 0, most)
    if #more == 0 then return ids end
    local due = {}
    for _, id in ipairs(ids) do due[id] = tonumber(call('ZSCORE', DUE, id)) end
    for _, id in ipairs(more) do
      due[id] = call('ZSCORE', DUE, id) - LATER
      ids[#ids + 1] = id
    end
    table.sort(ids, function(one, other)
      if due[one] ~= due[other] then return due[one] < due[other] end
      return one < other
    end)
    if most >= 0 then
      for at = #ids, most + 1, -1 do ids[at] = nil end
    end
    return ids
  end

  -- Clear away up to so many of what is due; how many there were.
  function it.reap(now, most)
    local ids = it.due(now, most)
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
    for _, id in ipairs(it.due(now, -1)) do
      local row = it.read(id)
      if row and row[1] == 'O' then
        local keys, beside = it.parts(row)
        for _, key in ipairs(keys) do
          local amount = it.amount(key, row[3], beside)
          found[key] = found[key] or {{0}, {0}}
          add(found[key][1], row[5] == 1 and it.unit(key) ~= 'p' and amount or 0)
          add(found[key][2], amount)
        end
      end
    end
    return found
  end

  return it
end
