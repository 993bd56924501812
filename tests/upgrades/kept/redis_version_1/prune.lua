#!lua flags=allow-oom
--{common}
local lib = library()
-- ARGV: before_ms, how many. Deletes entries; how many went.
local ids = call('ZRANGEBYSCORE', ENTRIES, '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  local row = lib.read(id)
  for _, key in ipairs(row[5]) do
    if call('EXISTS', ACCOUNT .. key) == 1 then call('HINCRBY', ACCOUNT .. key, 'p', format('%d', row[3])) end
  end
  call('DEL', HOLD .. id)
  call('ZREM', ENTRIES, id)
end
return #ids
