if obj.spec.paused then
  return {status = "Suspended", message = "paused"}
end
return {status = "Healthy", message = obj.spec.depth .. " waiting"}
