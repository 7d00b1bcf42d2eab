"""What runs inside Redis (Lua), so that it is all or nothing: the lease, frames under it, events once each.

Sent whole with EVAL: a few hundred bytes a batch, and no script cache that a flush or a restart could empty. For Redis
6.2 and later, one server or a master with replicas; some keys are composed here, which Redis Cluster forbids.
"""

# KEYS: lease. ARGV: token, milliseconds, owner.
# Answers {'kept'}, {'taken'}, {'refused', why} or {'held', milliseconds left}. A lease whose token begins with `owner:`
# was left by an earlier life of this deployment (same spool, which one process at a time can lock): we take it over.
# An expiry is moved by PEXPIRE, which Redis allows even when its memory is full.
LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {'kept'}
end
local own = ARGV[3] .. ':'
if not holder or (#ARGV[3] > 0 and string.sub(holder, 1, #own) == own) then
  local set = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  if set.err then return {'refused', set.err} end
  return {'taken'}
end
return {'held', redis.call('PTTL', KEYS[1])}
"""

# KEYS: lease. ARGV: token.
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

# KEYS: lease, stream. ARGV: token, maxlen, version, then id and message of each entry.
# Answers {how many are in the stream now, why not the next}: '' for all, 'LEASE' if it isn't ours, 'BEHIND' if there is
# a later id and not this entry, else Redis's own words. It stops there: a later entry never passes an earlier one.
FRAMES = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0, 'LEASE'} end
local done = 0
for i = 4, #ARGV, 2 do
  local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], ARGV[i], 'v', ARGV[3], 'm', ARGV[i + 1])
  if type(added) == 'table' and added.err then
    if not string.find(added.err, 'equal or smaller', 1, true) then return {done, added.err} end
    local there = redis.call('XRANGE', KEYS[2], ARGV[i], ARGV[i])
    if not there[1] or there[1][2][4] ~= ARGV[i + 1] then return {done, 'BEHIND'} end
  end
  done = done + 1
end
return {done, ''}
"""

# KEYS: events, producers, streams. ARGV: maxlen, version, token, prefix of the leases, then for each event producer, n,
# message and the stream whose latest state it is, or ''.
# Answers {how many are in the stream now, how many of those were before, why not the next}. A state is kept only while
# nobody else holds that stream's lease.
EVENTS = """
local done, repeated = 0, 0
for _, key in ipairs({KEYS[2], KEYS[3]}) do
  local known = redis.pcall('HLEN', key)
  if type(known) == 'table' and known.err then return {0, 0, known.err} end
end
for i = 5, #ARGV, 4 do
  local last = redis.call('HGET', KEYS[2], ARGV[i])
  if last and tonumber(last) >= tonumber(ARGV[i + 1]) then
    repeated = repeated + 1
  else
    local added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'v', ARGV[2], 'm', ARGV[i + 2])
    if type(added) == 'table' and added.err then return {done, repeated, added.err} end
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    if ARGV[i + 3] ~= '' then
      local holder = redis.call('GET', ARGV[4] .. ARGV[i + 3])
      if not holder or holder == ARGV[3] then redis.call('HSET', KEYS[3], ARGV[i + 3], ARGV[i + 2]) end
    end
  end
  done = done + 1
end
return {done, repeated, ''}
"""

# KEYS: streams, lease. ARGV: token, stream, state. For a server that has forgotten the states.
STATE = """
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) end
return 1
"""
