-- Deletes a volume, whatever was cloned from it, in one transaction group, so that a
-- crash falls before or after and never between. See zfs-program(8).
--
-- Arguments: the driver's name, the volume's ID, "looked" when the caller has seen that
-- nobody uses the volume, and its possible parents in this pool.
-- Result: {status=..., dataset=..., ...}; the statuses are those of deletion in delete.go.

local argv = (...)["argv"]
local driver, id, looked = argv[1], argv[2], argv[3] == "looked"

-- own returns a user property's value when it was set on the dataset itself.
local function own(dataset, property)
  local value, source = zfs.get_prop(dataset, property)
  if source == dataset then
    return value
  end
  return nil
end

-- first returns the first item of an iterator, or nil.
local function first(iterator)
  for item in iterator do
    return item
  end
  return nil
end

-- all returns the items of an iterator, which must not be running while they change.
local function all(iterator)
  local items = {}
  for item in iterator do
    items[#items + 1] = item
  end
  return items
end

-- A volume's absence counts only where its parent is there and marked.
local dataset, copy
for i = 4, #argv do
  local parent = argv[i]
  if not zfs.exists(parent) or own(parent, "zfs-csi:driver") ~= driver then
    return {status = "unmarked", dataset = parent}
  end
  if dataset == nil and zfs.exists(parent .. "/" .. id) then
    dataset = parent .. "/" .. id
  end
  if zfs.exists(parent .. "/.copy-" .. id) then
    copy = parent .. "/.copy-" .. id
  end
end

-- What an interrupted copy left below the name goes with the volume.
local function discard()
  if copy == nil or own(copy, "zfs-csi:kind") == nil then
    return 0
  end
  for _, snapshot in ipairs(all(zfs.list.snapshots(copy))) do
    local errno = zfs.sync.destroy(snapshot)
    if errno ~= 0 then
      return errno
    end
  end
  return zfs.sync.destroy(copy)
end
if dataset == nil then
  local errno = discard()
  if errno ~= 0 then
    return {status = "failed", dataset = copy, errno = errno}
  end
  return {status = "absent"}
end
if own(dataset, "zfs-csi:volume") == nil then
  return {status = "foreign", dataset = dataset, what = dataset}
end

-- Look at everything before anything is changed.
local child = first(zfs.list.children(dataset))
if child ~= nil then
  return {status = "dependent", dataset = dataset, what = child}
end
local snapshots = all(zfs.list.snapshots(dataset))
for _, snapshot in ipairs(snapshots) do
  if zfs.get_prop(snapshot, "userrefs") > 0 then
    return {status = "held", dataset = dataset, what = snapshot}
  end
  local clones = all(zfs.list.clones(snapshot))
  for _, clone in ipairs(clones) do
    if own(clone, "zfs-csi:volume") == nil then
      return {status = "dependent", dataset = dataset, what = clone}
    end
  end
  -- One that is being sent, or looked into below .zfs, cannot be destroyed.
  if #clones == 0 and zfs.check.destroy(snapshot) ~= 0 then
    return {status = "busy", dataset = dataset}
  end
end
-- A rollback's check is the one that tells a dataset in use apart from one that has
-- snapshots. It does not get as far where the newest snapshot is of this transaction
-- group, or older than a bookmark: then only the caller can look, and comes again.
local rollback = zfs.check.rollback(dataset)
if rollback == EBUSY then
  return {status = "busy", dataset = dataset}
end
if (rollback == EAGAIN or rollback == EEXIST) and not looked then
  return {status = "unknown", dataset = dataset}
end

-- Snapshots that nothing was cloned from go with their volume. They must go first:
-- promotion would carry them over, and fails where the clone has one of the same name.
for _, snapshot in ipairs(snapshots) do
  if first(zfs.list.clones(snapshot)) == nil then
    local errno = zfs.sync.destroy(snapshot)
    if errno ~= 0 then
      return {status = "failed", dataset = snapshot, errno = errno}
    end
  end
end

-- newest returns a clone of the newest snapshot that has one. The order in which
-- snapshots are listed says nothing of their age.
local function newest()
  local clone, txg = nil, -1
  for snapshot in zfs.list.snapshots(dataset) do
    local created = zfs.get_prop(snapshot, "createtxg")
    local c = first(zfs.list.clones(snapshot))
    if c ~= nil and created > txg then
      clone, txg = c, created
    end
  end
  return clone
end

-- Promotion hands a clone all snapshots up to its origin, so one is enough, but for
-- snapshots of the same transaction group, whose order createtxg does not tell.
local promoted = {}
local function undo()
  for _ = 1, #promoted do
    zfs.sync.promote(dataset)
  end
end
local clone = newest()
while clone ~= nil do
  local errno = zfs.sync.promote(clone)
  if errno ~= 0 then
    undo()
    return {status = "failed", dataset = clone, errno = errno}
  end
  promoted[#promoted + 1] = clone
  clone = newest()
end

local origin = zfs.get_prop(dataset, "origin")
local errno = zfs.sync.destroy(dataset)
if errno ~= 0 then
  undo()
  if errno == EBUSY then
    return {status = "busy", dataset = dataset}
  end
  return {status = "failed", dataset = dataset, errno = errno}
end

-- A crash between the clone and the mark on its snapshot left the mark to be made.
if origin ~= nil and zfs.exists(origin) and own(origin, "zfs-csi:kind") ~= nil then
  zfs.sync.destroy({origin, defer = true})
end
-- Should this fail, the sweep of the next process finds it.
discard()
return {status = "deleted", dataset = dataset, promoted = promoted}
