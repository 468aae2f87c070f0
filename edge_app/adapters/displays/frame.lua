Rows, Inbox, Lost, Lit, Tapped, Heard = {}, {}, {" ", 1, 1, 1}, false, false, 0
Colour = {"WHITE", "YELLOW", "RED"}
frame.bluetooth.receive_callback(function(m) Inbox[#Inbox + 1] = m end)
frame.imu.tap_callback(function() Tapped = true end)
function tell(w) for _ = 1, 50 do if pcall(frame.bluetooth.send, w) then return end frame.sleep(0.01) end end
function text(r) frame.display.text(r[1], r[2], r[3], {color = Colour[r[4]]}) end
function draw(rows) text({" ", 1, 1, 1}) for _, r in ipairs(rows) do text(r) end frame.display.show() end
Take = {}
function row(m) local x, y, c, at = string.unpack(">I2I2B", m, 2) return {m:sub(at), x, y, c} end
function Take.r(m) Rows[#Rows + 1] = row(m) end
function Take.d() local rows = Rows Rows = {} Lit = true draw(rows) end
function Take.l(m) Lost = row(m) end
function Take.b() end
function Take.q() Rows = {} Lit = false draw({}) end
function hear(m) Heard = frame.time.utc() tell(pcall(Take[m:sub(1, 1)], m) and "k" or "e") end
function watch() if Lit and frame.time.utc() - Heard > 6 then Lit = false draw({Lost}) end end
function step() local m = table.remove(Inbox, 1) if m then hear(m) end if Tapped then Tapped = false tell("t") end watch() end
function run() Heard = frame.time.utc() while true do step() frame.sleep(0.02) end end
