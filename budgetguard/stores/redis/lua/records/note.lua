#!lua
--{common}
-- ARGV: whether to replace what is there; then for every record: kind, id, when it may be pruned, what was said.
-- For each: whether it is new.
local new, replace = {}, ARGV[1] == '1'
for at = 2, #ARGV, 4 do
  local kind, id, said = ARGV[at], ARGV[at + 1], ARGV[at + 3]
  local is_new = not call('ZSCORE', P .. 'r:' .. kind, id)
  if is_new or replace then
    call('HSET', P .. 'n:' .. kind, id, said)
    call('ZADD', P .. 'r:' .. kind, 0, id)
    call('ZADD', P .. 'o', ARGV[at + 2], kind .. ':' .. id)
  end
  new[#new + 1] = is_new and 1 or 0
end
return new
