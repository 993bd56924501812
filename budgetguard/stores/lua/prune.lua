#!lua flags=allow-oom
--{common}
-- ARGV: before_ms, how many. Deletes entries; how many went.
local ids = call('ZRANGEBYSCORE', P .. 'e', '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  local row = read(id)
  for _, key in ipairs(row[5]) do
    if call('EXISTS', P .. 'a:' .. key) == 1 then call('HINCRBY', P .. 'a:' .. key, 'p', int(row[3])) end
  end
  call('DEL', P .. 'h:' .. id)
  call('ZREM', P .. 'e', id)
end
return #ids
