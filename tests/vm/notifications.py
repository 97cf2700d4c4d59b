"""A desktop's notification service: notifications.py FILE writes each notification there, as a line of JSON.

It runs inside the machine, as its user, with stunwall's own jeepney.
"""

import json
import sys
from pathlib import Path
from typing import Any

from jeepney import DBus, HeaderFields, MessageType, new_method_return
from jeepney.io.blocking import open_dbus_connection

NAME = "org.freedesktop.Notifications"


def main(file: Path) -> None:
    """Serves until the session bus ends."""
    bus = open_dbus_connection("SESSION", auth_timeout=60)  # the bus starts only now
    bus.send_and_get_reply(DBus().RequestName(NAME))
    number = 0
    while True:
        call = bus.receive()
        if call.header.message_type is not MessageType.method_call:
            continue
        reply: tuple[str, Any] = ("as", ["actions", "body"])
        if call.header.fields[HeaderFields.member] == "Notify":
            number += 1
            _, _, _, summary, body, *_ = call.body
            with file.open("a") as shown:
                shown.write(json.dumps([summary, body]) + "\n")
            reply = ("u", number)
        bus.send(new_method_return(call, reply[0], (reply[1],)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
