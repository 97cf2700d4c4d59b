"""The programs that do WebRTC: browsers, and applications that have one inside. No I/O.

Names of programs, as the kernel has them: the file name, cut to 15 characters. From the packages of Debian 12, Arch
Linux, Flathub and the vendors, November 2025. `webrtc_programs` in the configuration adds others.
"""

import re
from collections.abc import Iterable
from fnmatch import translate

_LENGTH = 15  # linux/sched.h: TASK_COMM_LEN less the final zero

_GECKO = (
    *("firefox*", "librewolf*", "mullvadbrowser*", "tor-browser*", "zen", "zen-bin", "floorp*", "waterfox*"),
    *("icecat", "palemoon", "basilisk", "thunderbird*", "betterbird*"),
    # Their main thread and processes, whatever the file is called.
    *("GeckoMain", "Socket Process", "Web Content", "Isolated Web Co", "Privileged Cont", "WebExtensions"),
)
_CHROMIUM = (
    *("chromium*", "chrome", "google-chrome*", "brave*", "vivaldi*", "msedge*", "microsoft-edge*", "opera"),
    *("opera-*", "ungoogled-chrom*", "thorium*", "yandex*", "headless_shell"),
)
_EMBEDDED = (
    # WebKitGTK (GNOME Web), Qt WebEngine (Falkon, KDE's applications), CEF (Steam, OBS Studio).
    *("WebKitNetworkPr", "WebKitWebProces", "epiphany*", "QtWebEngineProc", "falkon", "qutebrowser"),
    *("steamwebhelper", "obs-browser-pag"),
)
_APPLICATIONS = (
    # Electron, what is made with it, and others that make calls.
    *("electron*", "Discord*", "discord*", "vesktop*", "slack", "teams*", "signal-desktop*"),
    *("element-desktop*", "whatsapp*", "zapzap*", "zoom", "ZoomWebviewHost", "skypeforlinux"),
    *("jitsi-meet*", "Jitsi Meet", "webex*", "CiscoCollabHost", "mattermost-desk"),
    *("rocketchat-desk", "wire-desktop", "ferdium*", "rambox*", "viber"),
    *("telegram-deskto", "Telegram", "nheko", "jami*", "gajim", "dino", "linphone*", "threema*"),
)
NAMES = (*_GECKO, *_CHROMIUM, *_EMBEDDED, *_APPLICATIONS)


class Programs:
    """The programs that do WebRTC: the known ones, and `more` names or globs."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        names = (name if set(name) & set("*?[") else name[:_LENGTH] for name in (*NAMES, *more))
        self._match = re.compile("|".join(map(translate, names))).match

    def __contains__(self, name: str) -> bool:
        return self._match(name) is not None
