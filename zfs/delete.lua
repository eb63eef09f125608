-- Deletes a volume, a snapshot or a group of snapshots, whatever was cloned from them, in
-- one transaction group, so that a crash falls before or after and never between.
-- See zfs-program(8).
--
-- Arguments, in argv: the driver's name; "volume", "snapshot", "group", "orphaned snapshot", "orphaned group", "orphans" (which
-- deletes nothing) or "tombstone"; the ID of the volume, the name of the snapshots or the dataset of the tombstone; for a volume "looked" when the
-- caller has seen that nobody uses it, for a snapshot the ID of its volume, for orphans that or "-"; where below a parent the
-- entry of a snapshot of that name can be (see entry.go); and the possible parents in this pool.
-- Result: {status=..., dataset=..., ...}; the statuses are those of deletion in delete.go.

local driver, what, name, detail, part = argv[1], argv[2], argv[3], argv[4], argv[5]
local parents = {}
for i = 6, #argv do
  parents[#parents + 1] = argv[i]
end

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

-- live tells whether a snapshot is one of a caller's that was not deleted.
local function live(snapshot)
  return own(snapshot, "zfs-csi:snapshot") ~= nil and zfs.get_prop(snapshot, "defer_destroy") ~= "on"
end

-- Absence counts only where every parent is there and marked.
for _, parent in ipairs(parents) do
  if not zfs.exists(parent) or own(parent, "zfs-csi:driver") ~= driver then
    return {status = "unmarked", dataset = parent}
  end
end

-- received tells whether a snapshot was a caller's where it was sent from: of its properties only those that were set
-- anew here count, but it is not somebody else's either.
local function received(snapshot)
  local value, source = zfs.get_prop(snapshot, "zfs-csi:snapshot")
  return value ~= nil and source == "$recvd"
end

-- snapshotsOf returns the snapshots of a dataset, each with its clones and whether it is live: what is asked once need
-- not be asked again, and each question has its price.
local function snapshotsOf(dataset)
  local found = {}
  for _, snapshot in ipairs(all(zfs.list.snapshots(dataset))) do
    found[#found + 1] = {name = snapshot, live = live(snapshot), clones = all(zfs.list.clones(snapshot))}
  end
  return found
end

-- obstacle returns why a dataset, or a tombstone, cannot be deleted, or nil; heir is the clone that is to take over its
-- snapshots, if any. It changes nothing.
local function obstacle(dataset, tombstone, snapshots, heir, looked)
  local child = first(zfs.list.children(dataset))
  if child ~= nil then
    return {status = "dependent", dataset = dataset, what = child}
  end
  for _, snapshot in ipairs(snapshots) do
    if zfs.get_prop(snapshot.name, "userrefs") > 0 then
      return {status = "held", dataset = dataset, what = snapshot.name}
    end
    if not snapshot.live and received(snapshot.name) then
      return {status = "received", dataset = dataset, what = snapshot.name}
    end
    for _, clone in ipairs(snapshot.clones) do
      -- A tombstone stays for a live snapshot, of which a volume is perhaps being made.
      if own(clone, "zfs-csi:volume") == nil and not (tombstone and snapshot.live) then
        return {status = "dependent", dataset = dataset, what = clone}
      end
    end
    -- One that is being sent, or looked into below .zfs, cannot be destroyed.
    if #snapshot.clones == 0 and not snapshot.live and zfs.check.destroy(snapshot.name) ~= 0 then
      return {status = "busy", dataset = dataset}
    end
  end
  -- This looks at all snapshots of both, and so is made once.
  if heir ~= nil and zfs.check.promote(heir) == EBUSY then
    return {status = "busy", dataset = dataset}
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
  return nil
end

-- newest returns a clone of the newest of the snapshots, or nil for none. The order in which they are
-- listed says nothing of their age, which is asked where there are several.
local function newest(snapshots)
  local clone, txg = nil, -1
  for _, snapshot in ipairs(snapshots) do
    local created = #snapshots > 1 and zfs.get_prop(snapshot.name, "createtxg") or 0
    if created > txg then
      clone, txg = snapshot.clones[1], created
    end
  end
  return clone
end

-- replace hands a dataset's snapshots to a clone of the newest of them, if there are any, and destroys it: promotion hands a clone
-- all snapshots up to its origin, and no two of a dataset are of one transaction group.
local function replace(dataset, heir)
  if heir ~= nil then
    local errno, conflicts = zfs.sync.promote(heir)
    if errno == EEXIST and conflicts ~= nil then
      local names = {}
      for leaf in pairs(conflicts) do
        names[#names + 1] = leaf
      end
      return {status = "conflict", dataset = dataset, what = heir, conflicts = names}
    elseif errno ~= 0 then
      return {status = "failed", dataset = heir, errno = errno}
    end
  end

  local origin = zfs.get_prop(dataset, "origin")
  local errno = zfs.sync.destroy(dataset)
  if errno ~= 0 then
    if heir ~= nil then
      zfs.sync.promote(dataset)
    end
    if errno == EBUSY then
      return {status = "busy", dataset = dataset}
    end
    return {status = "failed", dataset = dataset, errno = errno}
  end
  -- A crash between the clone and the mark on its snapshot left the mark to be made.
  if origin ~= nil and zfs.exists(origin) and own(origin, "zfs-csi:kind") ~= nil then
    zfs.sync.destroy({origin, defer = true})
  end
  -- A tombstone was rolled back to the snapshot that perhaps went with this clone of it.
  local above = origin ~= nil and string.match(origin, "^[^@]+") or nil
  if above ~= nil and own(above, "zfs-csi:deleted") ~= nil then
    zfs.sync.rollback(above)
  end
  return {status = "deleted", dataset = dataset, promoted = heir}
end

-- remove deletes a dataset, or makes a tombstone of it: what holds a caller's snapshot stays
-- until the last of those goes, since promotion would take them away from under their names.
local function remove(dataset, tombstone, looked)
  local snapshots = snapshotsOf(dataset)
  local keep, cloned, alone = false, {}, {}
  for _, snapshot in ipairs(snapshots) do
    if snapshot.live then
      keep = true
    elseif #snapshot.clones > 0 then
      cloned[#cloned + 1] = snapshot
    else
      alone[#alone + 1] = snapshot.name
    end
  end
  local heir = not keep and newest(cloned) or nil
  local refused = obstacle(dataset, tombstone, snapshots, heir, looked)
  if refused ~= nil then
    return refused
  end
  -- Snapshots that nothing was cloned from go with their volume. They must go first:
  -- promotion would carry them over, and fails where the clone has one of the same name.
  for _, snapshot in ipairs(alone) do
    local errno = zfs.sync.destroy(snapshot)
    if errno ~= 0 then
      return {status = "failed", dataset = snapshot, errno = errno}
    end
  end
  if not keep then
    return replace(dataset, heir)
  end
  local errno = zfs.sync.set_prop(dataset, "zfs-csi:deleted", "yes")
  if errno ~= 0 then
    return {status = "failed", dataset = dataset, errno = errno}
  end
  -- Where this cannot be (see obstacle) only the space of what was written last stays taken.
  zfs.sync.rollback(dataset)
  return {status = "buried", dataset = dataset}
end

-- discard removes what an interrupted copy left below the name of a volume.
local function discard(id)
  for _, parent in ipairs(parents) do
    local copy = parent .. "/.copy-" .. id
    if zfs.exists(copy) and own(copy, "zfs-csi:kind") ~= nil then
      local errno = 0
      for _, snapshot in ipairs(all(zfs.list.snapshots(copy))) do
        errno = zfs.sync.destroy(snapshot)
        if errno ~= 0 then
          break
        end
      end
      if errno == 0 then
        errno = zfs.sync.destroy(copy)
      end
      if errno ~= 0 then
        return {status = "failed", dataset = copy, errno = errno}
      end
    end
  end
  return {status = "absent"}
end

local function volume(id, looked)
  for _, parent in ipairs(parents) do
    local dataset = parent .. "/" .. id
    if zfs.exists(dataset) then
      if own(dataset, "zfs-csi:volume") == nil then
        return {status = "foreign", dataset = dataset, what = dataset}
      end
      if own(dataset, "zfs-csi:deleted") ~= nil then
        return {status = "buried", dataset = dataset}
      end
      local result = remove(dataset, false, looked)
      if result.status == "deleted" or result.status == "buried" then
        -- Should this fail, the sweep of the next process finds it.
        discard(id)
      end
      return result
    end
  end
  return discard(id)
end

local function tombstone(dataset)
  if not zfs.exists(dataset) or own(dataset, "zfs-csi:deleted") == nil then
    return {status = "absent"}
  end
  return remove(dataset, true, true)
end

if what == "volume" then
  return volume(name, detail == "looked")
elseif what == "tombstone" then
  return tombstone(name)
end
