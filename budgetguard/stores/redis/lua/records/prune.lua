#!lua flags=allow-oom
--{common}
-- ARGV: before_ms, how many. Deletes records that were over then; how many went.
local names = call('ZRANGEBYSCORE', P .. 'o', '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, name in ipairs(names) do
  local colon = string.find(name, ':', 1, true)
  local kind, id = string.sub(name, 1, colon - 1), string.sub(name, colon + 1)
  call('HDEL', P .. 'n:' .. kind, id)
  call('ZREM', P .. 'r:' .. kind, id)
  call('ZREM', P .. 'o', name)
end
return #names
