hs = {status = "Healthy", message = "of a good size"}
if obj.spec.size > 2 then
  hs.status = "Degraded"
  hs.message = "too large: " .. tostring(obj.spec.size)
end
return hs
