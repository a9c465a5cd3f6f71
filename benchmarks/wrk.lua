-- Posts one body again and again: wrk -s wrk.lua URL -- FILE CONTENT-TYPE. Prints what came of it as JSON.
function init(arguments)
   wrk.method = "POST"
   wrk.headers["Content-Type"] = arguments[2]
   wrk.body = io.open(arguments[1], "rb"):read("*a")
end

function done(summary, latency)
   local errors = summary.errors
   print(string.format(
      '{"seconds": %f, "answers": %d, "p50_ms": %f, "p99_ms": %f, "errors": %d}',
      summary.duration / 1e6, summary.requests - errors.status, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout
   ))
end
