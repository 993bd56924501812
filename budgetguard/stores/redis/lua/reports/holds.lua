#!lua flags=no-writes,allow-oom
--{common}
local lib = library()
-- ARGV: the first place and the last, in the way of ZRANGEBYSCORE, how many to pass over, how many. For each id:
-- due_ms, and of an open hold also amount, placed_ms, what was said, keys, what it holds beside dollars.
local found = {}
for _, id in ipairs(call('ZRANGEBYSCORE', DUE, ARGV[1], ARGV[2], 'LIMIT', ARGV[3], ARGV[4])) do
  local row = lib.read(id)
  if row and row[1] == 'O' then
    local keys, beside = lib.parts(row)
    found[#found + 1] = {id, row[2], row[3], row[4], row[7], keys, lib.told(beside)}
  else
    found[#found + 1] = {id, row and row[2] or 0}
  end
end
return found
