-- What wrk sends: the lines of a file as bodies of POST requests, each with an id that no other request has.
--
--   wrk … -s load.lua URL -- FILE TAG
--
-- `@ID@` in a line becomes TAG-thread-number. At the end one line of JSON goes to stdout.

local threads = 0

function setup(thread)
    thread:set("number", threads)
    threads = threads + 1
end

function init(args)
    tag, count, bodies = args[2], 0, {}
    for line in io.lines(args[1]) do
        local from, to = line:find("@ID@", 1, true)
        if not from then error("a line without @ID@ in " .. args[1]) end
        bodies[#bodies + 1] = { line:sub(1, from - 1), line:sub(to + 1) }
    end
    headers = { ["content-type"] = "application/json" }
end

function request()
    local body = bodies[count % #bodies + 1]
    count = count + 1
    return wrk.format("POST", nil, headers, body[1] .. tag .. "-" .. number .. "-" .. count .. body[2])
end

function done(summary, latency, requests)
    local errors = summary.errors
    local bad = errors.connect + errors.read + errors.write + errors.timeout + errors.status
    io.write(string.format(
        '{"requests":%d,"bad":%d,"per_second":%.1f,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f}\n',
        summary.requests, bad, (summary.requests - errors.status) / (summary.duration / 1e6),
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
