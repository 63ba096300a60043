#!lua name=@LIBRARY@
-- What changes together in Redis: all keys of one node, in one call, in one slot.
-- KEYS[1] is always the key that the call is about; a node's other keys are derived from it, so they share its slot.
-- Numbers stay text: Lua's are doubles, and a sequence or an epoch may be larger than a double can tell apart.

local STATUSES = {'created', 'start_failed', 'running', 'paused', 'restarting', 'exited', 'removing', 'dead', 'removed',
  'unknown'}
-- The order is that of the arguments.
local CHECKPOINT = {'partition', 'sequence', 'writer', 'rebuilding', 'rebuilding_since', 'stated'}
-- Most members of `untold` that one answer names.
local PENDING_MAX = 500
-- Ends of which a service's totals count a container as failed.
local FAILURES = {crashed = true, oom_killed = true, daemon_restart = true, vanished = true, start_failed = true}

-- Calls a command on a key; a key that another hand gave another type is deleted first.
local function on(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    if not string.find(answer.err, 'WRONGTYPE', 1, true) then error(answer.err) end
    redis.call('DEL', key)
    return redis.call(command, key, ...)
  end
  return answer
end

-- The same for functions that write nothing: such a key reads as absent.
local function peek(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    if not string.find(answer.err, 'WRONGTYPE', 1, true) then error(answer.err) end
    return {}
  end
  return answer
end

-- What all keys of the node begin with. While the slot is being moved to another server some keys may be here and some
-- there. Then either server refuses to look for two keys that are not there: so that is tried before anything is read or
-- changed, and what would see half of them, or end halfway, does not begin.
local function base_of(keys)
  local base = string.sub(keys[1], 1, -5)
  local answer = redis.pcall('EXISTS', base .. 'moving', base .. 'moved')
  if type(answer) == 'table' and answer.err then error({err = 'TRYAGAIN the slot of ' .. keys[1] .. ' is being moved'}) end
  return base
end

local function checkpoint_of(base, read)
  local stored = read('HMGET', base .. 'checkpoint', unpack(CHECKPOINT))
  for i = 1, #CHECKPOINT do stored[i] = stored[i] or '' end
  return stored
end

local function service_of(project, service)
  if project and service then return project .. '/' .. service end
  return nil
end

local function pad(number)
  number = number or '0'
  return string.rep('0', 20 - #number) .. number
end

local function untold(base, member)
  on('SADD', base .. 'untold', member)
end

local function untold_service(base, service)
  if service then untold(base, 'service:' .. service) end
end

local function set_status(base, id, status)
  for _, other in ipairs(STATUSES) do
    if other ~= status then on('SREM', base .. 'status:' .. other, id) end
  end
  on('SADD', base .. 'status:' .. status, id)
end

-- The container is on this node no more.
local function remove(base, id)
  local key = base .. 'container:' .. id
  local old = on('HMGET', key, 'project', 'service')
  local service = service_of(old[1], old[2])
  redis.call('DEL', key)
  for _, status in ipairs(STATUSES) do on('SREM', base .. 'status:' .. status, id) end
  if service then
    on('SREM', base .. 'service:' .. service, id)
    untold_service(base, service)
  end
  on('SREM', base .. 'containers', id)
  on('HDEL', base .. 'since', id)
  untold(base, 'id:' .. id)
end

-- What a rebuild alone needs: which ids its statement names, and since when their last status was.
local function end_rebuild(base)
  redis.call('DEL', base .. 'stated', base .. 'since')
end

-- Nobody can say what the node's containers do: unknown from now on, the last known status kept.
local function mark_unknown(base, since)
  for _, id in ipairs(on('SMEMBERS', base .. 'containers')) do
    local key = base .. 'container:' .. id
    local old = on('HMGET', key, 'status', 'project', 'service')
    if not old[1] then
      remove(base, id)
    elseif old[1] ~= 'unknown' then
      redis.call('HSET', key, 'status', 'unknown', 'last_status', old[1], 'status_since', since)
      set_status(base, id, 'unknown')
      untold_service(base, service_of(old[2], old[3]))
    end
  end
end

-- Each operation: reads its arguments from position `i` on, changes the node, returns the position after them.
local operations = {}

-- put <id> <mode> <freshness> <status> <service> <in a rebuild: since when its last status was> <how many> <fields and values>
function operations.put(base, args, i)
  local id, mode, fresh, status, service = args[i], args[i + 1], args[i + 2], args[i + 3], args[i + 4]
  local since, many = args[i + 5], tonumber(args[i + 6])
  local first, last = i + 7, i + 6 + many
  if service == '' then service = nil end
  local key = base .. 'container:' .. id
  local old = on('HMGET', key, 'status', 'health', 'stop_cause', 'project', 'service', 'epoch', 'as_of')
  if mode ~= 'always' and old[1] then
    local have = pad(old[6]) .. pad(old[7])
    if fresh < have or (mode == 'newer' and fresh == have) then return last + 1 end
  end
  local before = service_of(old[4], old[5])
  redis.call('DEL', key)
  redis.call('HSET', key, unpack(args, first, last))
  if since ~= '' then on('HSET', base .. 'since', id, since) end
  local new = redis.call('HMGET', key, 'health', 'stop_cause')
  set_status(base, id, status)
  if before and before ~= service then
    on('SREM', base .. 'service:' .. before, id)
    untold_service(base, before)
  end
  if service then on('SADD', base .. 'service:' .. service, id) end
  if before ~= service or old[1] ~= status or old[2] ~= new[1] or old[3] ~= new[2] then untold_service(base, service) end
  if on('SADD', base .. 'containers', id) == 1 then untold(base, 'id:' .. id) end
  return last + 1
end

-- remove <id> <mode> <freshness>
function operations.remove(base, args, i)
  local id, mode, fresh = args[i], args[i + 1], args[i + 2]
  local old = on('HMGET', base .. 'container:' .. id, 'epoch', 'as_of')
  if mode == 'always' or not old[1] or fresh >= pad(old[1]) .. pad(old[2]) then remove(base, id) end
  return i + 3
end

-- node <how many> <fields and values>; an empty value removes the field
function operations.node(base, args, i)
  local many = tonumber(args[i])
  for at = i + 1, i + many, 2 do
    if args[at + 1] == '' then on('HDEL', base .. 'node', args[at]) else on('HSET', base .. 'node', args[at], args[at + 1]) end
  end
  return i + 1 + many
end

-- status <status> <since> <reason> <1 where the record itself says so>
function operations.status(base, args, i)
  local status, since, reason, said = args[i], args[i + 1], args[i + 2], args[i + 3] == '1'
  local key = base .. 'node'
  local changed = on('HGET', key, 'status') ~= status
  if changed then redis.call('HSET', key, 'status', status, 'status_since', since) end
  if reason ~= '' then
    redis.call('HSET', key, 'reason', reason)
  elseif changed then
    redis.call('HDEL', key, 'reason')
  end
  if status ~= 'alive' and (changed or said) then mark_unknown(base, since) end
  return i + 4
end

-- begin <since>: a rebuild begins; everything is unknown, and everything in other slots is to be told anew
function operations.begin(base, args, i)
  end_rebuild(base)
  for _, status in ipairs(STATUSES) do redis.call('DEL', base .. 'status:' .. status) end
  mark_unknown(base, args[i])
  for _, id in ipairs(on('SMEMBERS', base .. 'containers')) do
    local of = on('HMGET', base .. 'container:' .. id, 'project', 'service')
    redis.call('SADD', base .. 'status:unknown', id)
    untold(base, 'id:' .. id)
    untold_service(base, service_of(of[1], of[2]))
  end
  untold(base, 'node')
  return i + 1
end

-- stating: the statement that ends the rebuild begins
function operations.stating(base, args, i)
  redis.call('DEL', base .. 'stated')
  return i
end

-- keep <how many> <ids>: what that statement names
function operations.keep(base, args, i)
  local many = tonumber(args[i])
  for at = i + 1, i + many do on('SADD', base .. 'stated', args[at]) end
  return i + 1 + many
end

-- finish: the statement is whole; what it does not name is gone, what it names is known
function operations.finish(base, args, i)
  for _, id in ipairs(on('SMEMBERS', base .. 'containers')) do
    local key = base .. 'container:' .. id
    local old = on('HMGET', key, 'status', 'last_status', 'project', 'service')
    if not old[1] or on('SISMEMBER', base .. 'stated', id) == 0 then
      remove(base, id)
    elseif old[1] == 'unknown' and old[2] then
      local since = on('HGET', base .. 'since', id)
      redis.call('HSET', key, 'status', old[2])
      redis.call('HDEL', key, 'last_status', 'status_since')
      if since then redis.call('HSET', key, 'status_since', since) end
      set_status(base, id, old[2])
      untold_service(base, service_of(old[3], old[4]))
    end
  end
  end_rebuild(base)
  return i
end

-- forget: the node is retired; what is left is what other slots must be told
function operations.forget(base, args, i)
  for _, id in ipairs(on('SMEMBERS', base .. 'containers')) do remove(base, id) end
  for _, status in ipairs(STATUSES) do redis.call('DEL', base .. 'status:' .. status) end
  redis.call('DEL', base .. 'node', base .. 'containers')
  end_rebuild(base)
  untold(base, 'node')
  return i
end

-- How many containers the node has.
local function count(base)
  on('HSET', base .. 'node', 'containers', on('SCARD', base .. 'containers'), 'running', on('SCARD', base .. 'status:running'))
end

-- Applies operations to a node, if its checkpoint is the expected one. A checkpoint without the node's hash is that of
-- nothing: only what makes the node anew, or ends it, goes on from there.
-- ARGV: the expected checkpoint, the new one (all empty: none), the operations.
-- Answers {'applied', <how many are untold>}, or {'refused', <the stored checkpoint>}.
local function apply(keys, args)
  local base, width = base_of(keys), #CHECKPOINT
  local stored = checkpoint_of(base, on)
  for i = 1, width do
    if stored[i] ~= args[i] then return {'refused', unpack(stored)} end
  end
  local i = 2 * width + 1
  if on('HEXISTS', base .. 'node', 'name') == 0 then
    if stored[1] ~= '' and args[i] ~= 'begin' and args[i] ~= 'forget' then return {'refused', unpack(stored)} end
    untold(base, 'node')
  end
  while i <= #args do
    local operation = operations[args[i]]
    if not operation then return redis.error_reply('ERR unknown operation ' .. tostring(args[i])) end
    i = operation(base, args, i + 1)
  end
  redis.call('DEL', base .. 'checkpoint')
  local kept = false
  for at = 1, width do
    if args[width + at] ~= '' then
      redis.call('HSET', base .. 'checkpoint', CHECKPOINT[at], args[width + at])
      kept = true
    end
  end
  if kept then count(base) end
  return {'applied', on('SCARD', base .. 'untold')}
end

-- The node as one JSON object: {"checkpoint", "node", "containers"}. Written by hand, so that what is empty is
-- an object where it is an object and an array where it is an array.
local function object(flat)
  local parts = {}
  for i = 1, #flat, 2 do parts[#parts + 1] = cjson.encode(flat[i]) .. ':' .. cjson.encode(flat[i + 1]) end
  return '{' .. table.concat(parts, ',') .. '}'
end

-- The begin of that object, up to its containers.
local function head(base)
  local checkpoint = peek('HGETALL', base .. 'checkpoint')
  return '{"checkpoint":' .. (#checkpoint > 0 and object(checkpoint) or 'null')
    .. ',"node":' .. object(peek('HGETALL', base .. 'node'))
end

local function containers_of(base, ids)
  local containers = {}
  for _, id in ipairs(ids) do
    local fields = peek('HGETALL', base .. 'container:' .. id)
    if #fields > 0 then containers[#containers + 1] = object(fields) end
  end
  return '[' .. table.concat(containers, ',') .. ']'
end

local function read(keys)
  local base = base_of(keys)
  local ids = peek('SMEMBERS', base .. 'containers')
  table.sort(ids)
  return head(base) .. ',"containers":' .. containers_of(base, ids) .. '}'
end

-- A JSON array of texts.
local function array(texts)
  local parts = {}
  table.sort(texts)
  for i, text in ipairs(texts) do parts[i] = cjson.encode(text) end
  return '[' .. table.concat(parts, ',') .. ']'
end

-- The node's sets by what stands behind its name: of containers, by status, and of each service that a container names.
local function sets_of(base, ids)
  local sets, seen = {'containers'}, {}
  for _, status in ipairs(STATUSES) do sets[#sets + 1] = 'status:' .. status end
  for _, id in ipairs(ids) do
    local of = peek('HMGET', base .. 'container:' .. id, 'project', 'service')
    local service = service_of(of[1], of[2])
    if service and not seen[service] then
      seen[service] = true
      sets[#sets + 1] = 'service:' .. service
    end
  end
  return sets
end

-- A fingerprint of what the containers' keys and the sets hold, and of what the node says of them: another one each time
-- that one of them changes. Much cheaper than to tell them all.
local function print_of(base, ids, sets)
  local parts = {}
  local function add(text) parts[#parts + 1] = text or '' end
  local of = peek('HMGET', base .. 'node', 'status', 'containers', 'running')
  for i = 1, 3 do add(of[i]) end
  for _, set in ipairs(sets) do
    add(set)
    add(redis.call('DUMP', base .. set))
  end
  for _, id in ipairs(ids) do add(redis.call('DUMP', base .. 'container:' .. id)) end
  return redis.sha1hex(table.concat(parts, ' '))
end

-- The node as `read` tells it, with what its indexes hold and what is untold, all of one moment, and its fingerprint:
-- {…, "members": {"containers": […], "status:<status>": […], "service:<project>/<service>": […]}, "untold": […],
-- "print": "…"}. ARGV: a fingerprint, or nothing; where it is still the same, members are left out, and all containers
-- but those whose ids follow it.
local function examine(keys, args)
  local base = base_of(keys)
  local ids = peek('SMEMBERS', base .. 'containers')
  table.sort(ids)
  local sets = sets_of(base, ids)
  local print = print_of(base, ids, sets)
  local tail = ',"untold":' .. array(peek('SMEMBERS', base .. 'untold')) .. ',"print":' .. cjson.encode(print) .. '}'
  if print == args[1] then return head(base) .. ',"containers":' .. containers_of(base, {select(2, unpack(args))}) .. tail end
  local members = {}
  for i, set in ipairs(sets) do members[i] = cjson.encode(set) .. ':' .. array(peek('SMEMBERS', base .. set)) end
  return head(base) .. ',"containers":' .. containers_of(base, ids) .. ',"members":{' .. table.concat(members, ',') .. '}' .. tail
end

-- What other slots must be told, as it is now.
-- Answers {<checkpoint>, {<member>, <values>}, …}: of `id:…` and `node` whether it is there, of `service:…` its share.
local function pending(keys)
  local base = base_of(keys)
  local answer = {checkpoint_of(base, peek)}
  for _, member in ipairs(peek('SRANDMEMBER', base .. 'untold', PENDING_MAX)) do
    local kind, name = string.match(member, '^(%a+):?(.*)$')
    local told = {member}
    if kind == 'id' then
      told[2] = tostring(peek('SISMEMBER', base .. 'containers', name) == 1 and 1 or 0)
    elseif kind == 'service' then
      local containers, running, unhealthy, failed = 0, 0, 0, 0
      for _, id in ipairs(peek('SMEMBERS', base .. 'service:' .. name)) do
        local of = peek('HMGET', base .. 'container:' .. id, 'status', 'health', 'stop_cause')
        local status, health, cause = of[1], of[2], of[3]
        if status then
          containers = containers + 1
          if status == 'running' then running = running + 1 end
          if health == 'unhealthy' and status ~= 'unknown' then unhealthy = unhealthy + 1 end
          local ended = status == 'exited' or status == 'restarting'
          if status == 'start_failed' or status == 'dead' or (ended and cause and FAILURES[cause]) then failed = failed + 1 end
        end
      end
      told[2], told[3], told[4], told[5] = tostring(containers), tostring(running), tostring(unhealthy), tostring(failed)
    else
      told[2] = tostring(redis.call('EXISTS', base .. 'node'))
    end
    answer[#answer + 1] = told
  end
  return answer
end

-- Members of `untold` were told, as they were at a checkpoint. If the node has moved on they are to be told again:
-- another may have told the newer state before this teller told the older one.
-- ARGV: the checkpoint, the members. Answers how many are untold.
local function told(keys, args)
  local base, width = base_of(keys), #CHECKPOINT
  local stored, same = checkpoint_of(base, on), true
  for i = 1, width do same = same and stored[i] == args[i] end
  for i = width + 1, #args do on(same and 'SREM' or 'SADD', base .. 'untold', args[i]) end
  return on('SCARD', base .. 'untold')
end

-- Sets one node's share of a service and sums anew. ARGV: node, containers, running, unhealthy, failed, revision.
-- Answers how many nodes have a share.
local function share(keys, args)
  local key, field = keys[1], 'node:' .. args[1]
  if args[2] == '0' then
    on('HDEL', key, field)
  else
    on('HSET', key, field, string.format('{"containers":%s,"running":%s,"unhealthy":%s,"failed":%s,"revision":%s}',
      args[2], args[3], args[4], args[5], cjson.encode(args[6])))
  end
  local sums, nodes, flat = {containers = 0, running = 0, unhealthy = 0, failed = 0}, 0, on('HGETALL', key)
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 5) == 'node:' then
      local fine, of = pcall(cjson.decode, flat[i + 1])
      if fine and type(of) == 'table' then
        nodes = nodes + 1
        for name, sum in pairs(sums) do sums[name] = sum + (tonumber(of[name]) or 0) end
      else
        redis.call('HDEL', key, flat[i])
      end
    end
  end
  if nodes == 0 then
    redis.call('DEL', key)
    return 0
  end
  redis.call('HSET', key, 'containers', sums.containers, 'running', sums.running, 'unhealthy', sums.unhealthy,
    'failed', sums.failed, 'nodes', nodes)
  return nodes
end

-- The node's sets of containers by status, from the containers' keys; what has none is on the node no more.
local function mend_statuses(base)
  for _, status in ipairs(STATUSES) do redis.call('DEL', base .. 'status:' .. status) end
  for _, id in ipairs(on('SMEMBERS', base .. 'containers')) do
    local status = on('HGET', base .. 'container:' .. id, 'status')
    if not status then
      redis.call('SREM', base .. 'containers', id)
    else
      for _, known in ipairs(STATUSES) do
        if status == known then redis.call('SADD', base .. 'status:' .. status, id) end
      end
    end
  end
end

-- Builds indexes anew from the containers' keys, and has other slots told again. ARGV: `gone:<id>` for containers that
-- are to be removed, and members as `untold` has them, but that `node` stands for the node's sets by status alone.
local function mend(keys, args)
  local base, services = base_of(keys), {}
  for _, member in ipairs(args) do
    local kind, name = string.match(member, '^(%a+):?(.*)$')
    if kind == 'gone' then
      remove(base, name)
    elseif kind == 'node' then
      mend_statuses(base)
    else
      if kind == 'service' then
        services[name] = true
        redis.call('DEL', base .. 'service:' .. name)
      end
      untold(base, member)
    end
  end
  for _, id in ipairs(next(services) and on('SMEMBERS', base .. 'containers') or {}) do
    local of = on('HMGET', base .. 'container:' .. id, 'project', 'service')
    local service = service_of(of[1], of[2])
    if service and services[service] then redis.call('SADD', base .. 'service:' .. service, id) end
  end
  if redis.call('EXISTS', base .. 'node') == 1 then count(base) end
  return on('SCARD', base .. 'untold')
end

-- A sign of life of a node that is there. ARGV: when, and `true` where it is a stand-in's, else nothing.
local function beat(keys, args)
  if redis.call('EXISTS', keys[1]) == 0 then return 0 end
  on('HSET', keys[1], 'last_beat_at', args[1])
  if args[2] == 'true' then on('HSET', keys[1], 'stand_in', 'true') else on('HDEL', keys[1], 'stand_in') end
  return 1
end

redis.register_function('@LIBRARY@_apply', apply)
redis.register_function{function_name = '@LIBRARY@_read', callback = read, flags = {'no-writes'}}
redis.register_function{function_name = '@LIBRARY@_examine', callback = examine, flags = {'no-writes'}}
redis.register_function('@LIBRARY@_mend', mend)
redis.register_function{function_name = '@LIBRARY@_pending', callback = pending, flags = {'no-writes'}}
redis.register_function('@LIBRARY@_told', told)
redis.register_function('@LIBRARY@_share', share)
redis.register_function('@LIBRARY@_beat', beat)
