-- What runs on the glasses: it shows what the device says, and nothing once the device is silent.
-- A message is its kind, and a piece of text: 1 begins a text, 2 goes on, 3 ends it and has it
-- shown. Any message is a sign of life. Lines of a text lie below each other.
local SILENT_S = 6
local LINE_PX = 60
local coming, wanted, shown = '', '', ''
local heard_s = frame.time.utc()

frame.bluetooth.receive_callback(function(data)
  local kind, piece = string.byte(data, 1), string.sub(data, 2)
  if kind == 1 then coming = piece end
  if kind == 2 then coming = coming .. piece end
  if kind == 3 then wanted = coming .. piece; coming = '' end
  heard_s = frame.time.utc()
end)

local function draw(text)
  local y = 1
  frame.display.text(' ', 1, 1)
  for line in string.gmatch(text, '[^\n]+') do
    frame.display.text(line, 1, y)
    y = y + LINE_PX
  end
  frame.display.show()
end

draw('')
print('ready')
while true do
  if frame.time.utc() - heard_s > SILENT_S then wanted = '' end
  if wanted ~= shown then
    shown = wanted
    draw(shown)
  end
  frame.sleep(0.05)
end
