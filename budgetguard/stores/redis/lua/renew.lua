#!lua flags=allow-oom
--{common}
-- ARGV: now, and for every hold: id, amount, what it holds beside dollars ('' or as in 't520r1'), ttl, charge, said,
-- how many accounts; then for each of them: key, end_ms.
-- Answers 1 for each that counts for its ttl from now, 0 for one that has ended.
local now, place, answers, lib = clock(ARGV[1]), 2, {}, library()

while place <= #ARGV do
  local id, amount, beside = ARGV[place], tonumber(ARGV[place + 1]), lib.said(ARGV[place + 2])
  local due, charge, said = now + tonumber(ARGV[place + 3]), tonumber(ARGV[place + 4]), ARGV[place + 5]
  local first = place + 7
  place = first + 2 * tonumber(ARGV[place + 6])
  local row = lib.read(id)
  local kind = row and row[1]
  local counts = true
  if kind == 'O' then
    row[2] = math.max(row[2], due)
  elseif kind == 'S' and row[4] == 'expired' then
    lib.add(row, -1, 0)
    call('ZREM', ENTRIES, id)
    local keys, booked = lib.parts(row)
    local held = lib.counted(keys, booked)
    for _, key in ipairs(keys) do
      if lib.unit(key) == 'p' then held.p = 1 end
    end
    row = lib.fill({'O', due, row[3], now, charge, keys, said}, keys, held)
    lib.add(row, 0, 1)
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
    row = lib.fill({'O', due, amount, now, charge, keys, said}, keys, beside)
    lib.add(row, 0, 1)
  end
  if counts then lib.write_open(id, row) end
  answers[#answers + 1] = counts and 1 or 0
end
return answers
