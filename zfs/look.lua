-- Tells of parents, volumes and snapshots what calls about them go by, in the form of `zfs get -Hp` and
-- all as it was at one moment. It changes nothing and waits for no transaction group. Each property
-- costs about as much as the look for a name, so that only those are asked for that are of use.

-- look returns a line a property of each name that is there; parents tells which names are parents.
local function look(names, parents)
  local lines = {}

  local function tell(name, property, value, source)
    if value == nil then
      return
    end
    if source == name then
      source = "local"
    elseif source == "$recvd" then
      source = "received"
    elseif source == nil or not string.find(source, "/", 1, true) then
      source = "-"
    else
      source = "inherited from " .. source
    end
    lines[#lines + 1] = name .. "\t" .. property .. "\t" .. tostring(value) .. "\t" .. source .. "\n"
  end

  local function all(name, properties)
    for _, property in ipairs(properties) do
      tell(name, property, zfs.get_prop(name, property))
    end
  end

  local function snapshot(name)
    tell(name, "type", "snapshot")
    all(name, {"creation", "defer_destroy", "zfs-csi:snapshot", "zfs-csi:sources", "zfs-csi:group", "zfs-csi:fstype"})
    local size = zfs.get_prop(name, "volsize")
    if size ~= nil and size > 0 then -- To a program that of a filesystem has the size 0.
      tell(name, "volsize", size)
      tell(name, "volblocksize", zfs.get_prop(string.match(name, "^[^@]+"), "volblocksize"))
    end
  end

  local function volume(name)
    local kind = zfs.get_prop(name, "type")
    tell(name, "type", kind)
    all(name, {
      "guid", "refreservation", "origin", "zfs-csi:volume", "zfs-csi:fstype", "zfs-csi:formatted",
      "zfs-csi:source", "zfs-csi:parameters", "zfs-csi:labels", "zfs-csi:deleted",
    })
    all(name, kind == "volume" and {"volsize", "volblocksize"} or {"refquota"})
  end

  for _, name in ipairs(names) do
    if zfs.exists(name) then
      if parents[name] ~= nil then
        all(name, {"zfs-csi:driver", "available", "volmode", "snapdev"})
        tell(name, "type", "filesystem")
      elseif string.find(name, "@", 1, true) then
        snapshot(name)
      else
        volume(name)
      end
    end
  end
  return {text = table.concat(lines)}
end
