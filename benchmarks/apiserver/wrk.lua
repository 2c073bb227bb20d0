-- Requests that differ by a number (@@ in the path, %% in the body), and a report as one line of JSON.
-- Settings come by the environment: METHOD, BODY (a file), TYPE, FIRST (the first number), AMONG (0: all differ).
local method = os.getenv("METHOD") or "GET"
local number = tonumber(os.getenv("FIRST") or "0")
local among = tonumber(os.getenv("AMONG") or "0")
local file = os.getenv("BODY")

if file then
  local path, body, headers, kind = nil, io.open(file):read("*a"), nil, os.getenv("TYPE")
  request = function()
    if not headers then
      headers = wrk.headers
      headers["Content-Type"] = kind
      path = wrk.path
    end
    number = number + 1
    local name = among > 0 and number % among or number
    return wrk.format(method, (path:gsub("@@", name)), headers, (body:gsub("@@", name):gsub("%%%%", number)))
  end
end

done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'REPORT {"answers": %d, "seconds": %f, "bytes": %d, "p50": %f, "p99": %f, "failures": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, e.status + e.connect + e.read + e.write + e.timeout))
end
