#!lua
--{common}
-- ARGV: key, expected version or '', whether there is a body, body. The new version; -1: another one was there.
local key, at = ARGV[1], P .. 't:' .. ARGV[1]
local version = call('HGET', at, 'v') or '0'
if ARGV[2] ~= '' and ARGV[2] ~= version then return -1 end
if ARGV[3] == '1' then call('HSET', at, 'b', ARGV[4]) else call('HDEL', at, 'b') end
call('ZADD', P .. 't', 0, key)
return call('HINCRBY', at, 'v', 1)
