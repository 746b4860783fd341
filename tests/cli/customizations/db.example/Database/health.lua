local hs = {}
if obj.status == nil or obj.status.conditions == nil then
  hs.status = "Progressing"
  hs.message = "Waiting for the database"
  return hs
end
for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Failed" and condition.status == "True" then
    hs.status = "Degraded"
    hs.message = condition.message
    return hs
  end
  if condition.type == "Ready" and condition.status == "True" then
    hs.status = "Healthy"
    hs.message = "Serving since " .. condition.lastTransitionTime
    return hs
  end
end
return hs
