#!lua flags=allow-oom
--{common}
-- ARGV: now, and for every hold: id, amount, ttl, charge, said, how many accounts; then for each of them: key, end_ms.
-- Answers 1 for each that counts for its ttl from now, 0 for one that has ended.
local now, place, answers, lib = clock(ARGV[1]), 2, {}, library()

while place <= #ARGV do
  local id, amount, due = ARGV[place], tonumber(ARGV[place + 1]), now + tonumber(ARGV[place + 2])
  local charge, said, first = tonumber(ARGV[place + 3]), ARGV[place + 4], place + 6
  place = first + 2 * tonumber(ARGV[place + 5])
  local row = lib.read(id)
  local kind = row and row[1]
  local counts = true
  if kind == 'O' then
    row[2] = math.max(row[2], due)
  elseif kind == 'S' and row[4] == 'expired' then
    lib.add(row[5], 0 - row[3], row[3])
    call('ZREM', ENTRIES, id)
    row = {'O', due, row[3], now, charge, row[5], said}
  elseif kind == 'S' or (kind == 'E' and row[3] ~= 1 and row[2] > now) then
    counts = false
  else
    local keys, seen = {}, {}
    for at = first, place - 1, 2 do
      local key = ARGV[at]
      if not seen[key] then
        seen[key] = true
        keys[#keys + 1] = key
        if call('EXISTS', ACCOUNT .. key) == 0 then lib.make(key, ARGV[at + 1]) end
      end
    end
    lib.add(keys, 0, amount)
    row = {'O', due, amount, now, charge, keys, said}
  end
  if counts then
    lib.write(id, row)
    call('ZADD', DUE, format('%d', row[2]), id)
  end
  answers[#answers + 1] = counts and 1 or 0
end
return answers
