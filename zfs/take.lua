-- Takes snapshots with their properties, and marks snapshots for their removal, in one transaction
-- group: a crash falls before or after all of it.

-- ZFS takes no second snapshot of a dataset in one transaction group; who asks for it comes again.
local AGAIN = 11

-- take takes all of the snapshots or none, and gives each the properties. It returns when each
-- was taken, in seconds, or the error number and the snapshot that could not be taken.
--
-- When the process that runs the program is killed, ZFS stops the program and takes nothing back. It looks for that after
-- each hundred instructions of a coroutine: so what must not be torn is done by coroutines that are shorter, of which
-- each makes one snapshot or calls four others.
local coroutine_of = coroutine.wrap
local function take(names, properties)
  local errno, failed, taken, set = 0, nil, {}, zfs.sync.set_prop
  local function one(name)
    errno = zfs.sync.snapshot(name)
    if errno == 0 then
      taken[#taken + 1] = name
      for property, value in pairs(properties) do
        if errno == 0 then
          errno = set(name, property, value)
        end
      end
    end
    if errno ~= 0 then
      failed = name
    end
  end
  local function some(from, to)
    local length = (to - from) / 4 + 1
    for i = from, to, length do
      if errno == 0 then
        if length == 1 then
          coroutine_of(one)(names[i])
        else
          coroutine_of(some)(i, i + length > to and to or i + length - 1)
        end
      end
    end
  end
  coroutine_of(some)(1, #names)
  if errno ~= 0 then
    for _, t in ipairs(taken) do
      zfs.sync.destroy(t)
    end
    return {errno = errno, what = failed}
  end
  local created = {}
  for i, name in ipairs(names) do
    created[i] = zfs.get_prop(name, "creation")
  end
  return {errno = 0, created = created}
end

-- own returns a user property's value when it was set on the dataset itself.
local function own(dataset, property)
  local value, source = zfs.get_prop(dataset, property)
  return source == dataset and value or nil
end

-- unsigned writes a number that ZFS has without a sign, and Lua with one.
local function unsigned(n)
  if n >= 0 then
    return tostring(n)
  end
  n = n + 9223372036854775807 + 1 -- Now without the 9223372036854775808 of the highest bit.
  local low = n % 1000000000 + 854775808
  return tostring(n / 1000000000 + low / 1000000000 + 9223372036) .. string.format("%09d", low % 1000000000)
end

-- source tells of a volume what its snapshots remember, as formatSources does.
local function source(dataset, id)
  local size = zfs.get_prop(dataset, zfs.get_prop(dataset, "type") == "volume" and "volsize" or "refquota")
  return unsigned(zfs.get_prop(dataset, "guid")) .. ":" .. tostring(size) .. ":-:" .. id
end

-- lookAndTake looks, and takes snapshots with that leaf of volumes at once where nothing is in
-- the way: the parents are marked, nothing of what has to be absent is there, and all the volumes are, and need not be
-- brought to rest. A volume is its id and the places where it can be. With an entry, a snapshot of the first one's parent, all are
-- a caller's, and remember their sources. "taken" then is the last one; where there is none the caller sees why.
local done = {}
local function lookAndTake(names, parents, driver, absent, volumes, leaf, properties, entry)
  for _, volume in ipairs(volumes) do
    for _, place in ipairs(volume.places) do
      if done[place] then
        return {errno = AGAIN}
      end
    end
  end
  local answer = look(names, parents, {})
  for parent in pairs(parents) do
    if not zfs.exists(parent) or own(parent, "zfs-csi:driver") ~= driver then
      return answer
    end
  end
  for _, name in ipairs(absent) do
    if zfs.exists(name) then
      return answer
    end
  end
  local snapshots, sources = {}, {}
  for _, volume in ipairs(volumes) do
    local dataset
    for _, place in ipairs(volume.places) do
      if dataset == nil and zfs.exists(place) then
        dataset = place
      end
    end
    if dataset == nil or own(dataset, "zfs-csi:volume") == nil or own(dataset, "zfs-csi:deleted") ~= nil
      or own(dataset, "zfs-csi:fstype") ~= nil or zfs.exists(dataset .. "@" .. leaf) then
      return answer
    end
    if entry and #snapshots == 0 then
      snapshots[1] = string.match(dataset, "^(.*)/") .. "@" .. leaf
    end
    snapshots[#snapshots + 1] = dataset .. "@" .. leaf
    sources[#sources + 1] = source(dataset, volume.id)
    done[dataset] = true
  end
  if entry then
    properties["zfs-csi:sources"] = table.concat(sources, " ")
  end
  local result = take(snapshots, properties)
  if result.errno == AGAIN then
    return {errno = AGAIN}
  elseif result.errno == 0 then
    answer.taken = snapshots[#snapshots]
    answer.created = result.created
  end
  return answer
end

-- mine tells whether a snapshot is there and is the one that was taken by the driver with that leaf.
local function mine(snapshot, leaf)
  if not zfs.exists(snapshot) then
    return false
  end
  local value, source = zfs.get_prop(snapshot, "zfs-csi:kind")
  return source == snapshot and value == leaf
end

-- mark lets a snapshot that was taken for a clone go with its last clone. A promotion since then
-- has moved it to a clone, which is found by the origin of the one that it was taken for. One that
-- is nowhere has gone, or goes with the volume that holds it.
local function mark(dataset, leaf, clone)
  local places = {dataset .. "@" .. leaf, clone .. "@" .. leaf}
  if zfs.exists(clone) then
    places[3] = zfs.get_prop(clone, "origin")
  end
  for _, snapshot in pairs(places) do
    if mine(snapshot, leaf) then
      return {errno = zfs.sync.destroy({snapshot, defer = true}), what = snapshot}
    end
  end
  return {errno = 0}
end
