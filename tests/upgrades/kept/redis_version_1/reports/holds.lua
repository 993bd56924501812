#!lua flags=no-writes,allow-oom
--{common}
local lib = library()
-- ARGV: the first due_ms, in the way of ZRANGEBYSCORE, how many to pass over, how many. For each id: due_ms, and of an
-- open hold also amount, placed_ms, what was said, keys.
local found = {}
for _, id in ipairs(call('ZRANGEBYSCORE', DUE, ARGV[1], '+inf', 'LIMIT', ARGV[2], ARGV[3])) do
  local row = lib.read(id)
  if row and row[1] == 'O' then
    found[#found + 1] = {id, row[2], row[3], row[4], row[7], row[6]}
  else
    found[#found + 1] = {id, row and row[2] or 0}
  end
end
return found
