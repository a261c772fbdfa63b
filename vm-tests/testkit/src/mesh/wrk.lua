-- Requests with a body of so many bytes, as the first argument says.
function init(args)
   local body = tonumber(args[1])
   if body > 0 then
      wrk.method = "POST"
      wrk.body = string.rep("x", body)
   end
end

-- One line of JSON behind wrk's own report. Durations are in microseconds.
function done(summary, latency)
   local e = summary.errors
   io.write(string.format('{"requests":%d,"duration":%d,"errors":%d,"p50":%.1f,"p90":%.1f,"p99":%.1f,"slowest":%.1f}\n',
      summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
