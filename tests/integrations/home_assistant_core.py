"""A Home Assistant without a face, with its MQTT integration; runs in an environment of its own.

    build/home-assistant/bin/python home_assistant_core.py FOLDER BROKER_PORT USER PASSWORD

Writes a JSON object per line: what it started, every state of an entity, and every complaint.
Ends with its standard input, so that it does not outlive who started it.
"""

import asyncio
import json
import logging
import socket
import sys
from pathlib import Path
from typing import Any

from homeassistant import auth, bootstrap, config_entries, core, loader
from homeassistant.const import EVENT_STATE_CHANGED, __version__
from homeassistant.setup import async_setup_component


def tell(**what: Any) -> None:
    sys.stdout.write(json.dumps(what, default=str) + "\n")
    sys.stdout.flush()


class Complaints(logging.Handler):
    """What Home Assistant logs as an error, and of messages and templates as a warning too."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(complaint=self.format(record))


def tell_state(event: Any) -> None:
    state = event.data["new_state"]
    if state is not None:
        tell(entity=state.entity_id, state=state.state, attributes=dict(state.attributes))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def start(folder: Path, broker: dict[str, Any]) -> Any:
    """What `hass` does when it starts, less its user interface."""
    (folder / "configuration.yaml").touch()
    hass = core.HomeAssistant(str(folder))
    hass.config.skip_pip = True
    loader.async_setup(hass)
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth.auth_manager_from_config(hass, [{"type": "homeassistant"}], [])
    http = {"server_host": "127.0.0.1", "server_port": free_port()}
    if not await async_setup_component(hass, "http", {"http": http}):
        raise RuntimeError("Home Assistant's web server does not start")
    hass.bus.async_listen(EVENT_STATE_CHANGED, tell_state)
    entry = config_entries.ConfigEntry(
        domain="mqtt",
        title="the broker",
        data={**broker, "protocol": "5"},
        options={},
        source=config_entries.SOURCE_USER,
        unique_id=None,
        version=1,
        minor_version=2,
        discovery_keys={},
        subentries_data=None,
    )
    await hass.config_entries.async_add(entry)
    await hass.async_start()
    tell(home_assistant=__version__, broker=str(entry.state))
    return hass


async def main(folder: str, port: str, user: str, password: str) -> None:
    logging.basicConfig(level=logging.ERROR, handlers=[Complaints()])
    for name in ("components.mqtt", "helpers.template"):
        logging.getLogger(f"homeassistant.{name}").setLevel(logging.WARNING)
    broker = {"broker": "127.0.0.1", "port": int(port), "username": user, "password": password}
    hass = await start(Path(folder), broker)
    await asyncio.to_thread(sys.stdin.read)
    await hass.async_stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
