"""The parts of a running daemon, made in the order in which they depend on each other."""

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from stunwall.config import Config, Retention, WhenVpnDown, changed_keys
from stunwall.control.prompts import Author
from stunwall.daemon.causes import Causes
from stunwall.daemon.check_due import CheckDue
from stunwall.daemon.checks import Checks
from stunwall.daemon.folders import hide, make_folder
from stunwall.daemon.journal import Journal
from stunwall.daemon.packets import PacketHandler
from stunwall.daemon.problems import Problems
from stunwall.daemon.proofs import Proofs
from stunwall.daemon.sync import NetworkSync
from stunwall.daemon.user_agents import UserAgents
from stunwall.model import FAMILIES, GAP, Event, StunwallError
from stunwall.queue import nfqueue
from stunwall.queue.probe import Probe
from stunwall.queue.refusal import RefusalSender
from stunwall.record.ledger import FoundWall, Kind, Ledger
from stunwall.record.writer import RecordWriter
from stunwall.sockets.clients import Clients
from stunwall.sockets.diag import SocketLookup
from stunwall.sockets.origins import Origins
from stunwall.sockets.who import Who
from stunwall.text import missing_version
from stunwall.vpn import ip_versions
from stunwall.wall import modules, queue_rules, state
from stunwall.wall.nft import Nft
from stunwall.wall.pause import Pause
from stunwall.wall.reference import Filled
from stunwall.wall.repair import Gap, Repair
from stunwall.wall.second_lock import SecondLock
from stunwall.wall.state import Wall


class Parts:
    """Everything that a daemon owns. `config` is what is in force.

    Making it loads nothing into the kernel yet; what has to be closed is pushed on `stack`. Raises StunwallError.
    """

    def __init__(self, config: Config, file: Path, journal: Journal, nft: Nft, stack: ExitStack) -> None:
        self.config = config
        self.file = file
        self.journal = journal
        self.started = time.time()
        self.problems = Problems(journal)
        self.versions = ip_versions.available()
        for version in FAMILIES.keys() - self.versions:
            journal.notice(missing_version(version))
        self.nft = nft
        self.pause = Pause(nft)
        self.queued_before = 0
        """Packets that came from the queue before its counting rules were put in."""
        self.overruns = 0
        """Packets that the queue could not hold, as far as is known."""
        problem = self.problems.report
        for folder, mode in ((config.state_dir, 0o750), (config.run_dir, 0o755)):
            make_folder(folder, mode)
        hide(config.state_dir, config.log.own_only)
        # The queue first: if another daemon has it, nothing has been touched yet.
        _check_alone(nft, config.queue)
        self.queue = _take_queue(config)
        stack.callback(self.queue.close)
        self.writer = self._record_writer(stack)
        self.ledger = self._new_ledger(stack)
        self.second_lock = SecondLock(nft, config.mark_mask, partial(problem, "second lock"))
        self.sync = self._network_sync()
        stack.callback(self.sync.close)
        self.repair = self._new_repair()
        stack.callback(self.repair.close)
        self.probe = Probe(config.mark_mask)
        stack.callback(self.probe.close)
        self.sockets = SocketLookup(self.sync.names.index)
        stack.callback(self.sockets.close)
        self.origins = Origins(self.sockets, config.webrtc_programs)
        stack.callback(self.origins.close)
        self.packets = self._packet_handler(stack)
        self.queue.serve_with(self.packets, self.sync.names.name)
        self.check_due = self._new_check_due(stack)

    def put_up_wall(self) -> None:
        """Put the wall up, and go on with a pause that a daemon before this one began. Raises StunwallError."""
        wall, found = find_wall(self.nft)
        if wall is not None and wall.paused:
            self.pause.take_over(wall.paused)
            self._paused_why = "begun before stunwalld started"
        self.repair.start()
        self.ledger.start(found)
        if self.second_lock.unsupported:
            self.journal.notice(f"there is no second lock: {self.second_lock.unsupported}")

    def configure(self, config: Config) -> None:
        """Put another configuration into force. Raises StunwallError: then the old one still holds."""
        hide(config.state_dir, config.log.own_only)
        self.sync.configure(config)
        self.writer.keep = config.log
        self.packets.config = config
        self.origins.name_programs(config.webrtc_programs)
        changed = ", ".join(changed_keys(self.config, config)) or "nothing"
        self.config = config
        self.journal.notice(f"the configuration was reloaded; changed: {changed}")

    def note(self, verdict: str, reason: str, by: Author | None = None) -> None:
        """Record something that happened now and is about no packet; `by`: who did it, None if nobody."""
        if verdict == "paused":
            self._paused_why = reason
            self._opened += 1
        event = Event.note(time.time(), verdict, reason)
        self.writer.record(event if by is None else replace(event, uid=by.uid, user=by.user))

    def _new_ledger(self, stack: ExitStack) -> Ledger:
        self._paused_why = ""
        report = partial(self.problems.report, "ledger")
        made = Ledger(self.config.state_dir, lambda: self.config.log, report)
        stack.callback(made.close)
        return made

    def _new_check_due(self, stack: ExitStack) -> CheckDue:
        self._opened = 0  # how often the wall was opened, or changed by others
        self.proofs = Proofs(self._basis)
        made = CheckDue(self.config.run_dir, partial(self.problems.report, "check"))
        stack.callback(made.remove)
        return made

    def _record_writer(self, stack: ExitStack) -> RecordWriter:
        who = Who()
        self.agents = UserAgents(who.identify)
        stack.callback(who.close)
        clients, causes = Clients(), Causes(lambda: self.sync.view)
        stack.callback(clients.close)
        writer = RecordWriter(
            self.config.state_dir,
            self.config.log,
            self.journal.event,
            partial(self.problems.report, "record"),
            self.agents.identify,
            lambda sent: causes.explain(
                [(clients.identify(event), sender, mark) for event, sender, mark in sent]
            ),
        )
        stack.callback(writer.close)
        return writer

    def _new_repair(self) -> Repair:
        return Repair(
            self.nft,
            self._put_up_wall,
            self._filled,
            self._report_gap,
            partial(self.problems.report, "wall"),
            lambda: self.second_lock.held,
        )

    def _packet_handler(self, stack: ExitStack) -> PacketHandler:
        refusals = RefusalSender(self.config.mark_mask, self.versions)
        stack.callback(refusals.close)
        self.checks = Checks(self.nft, self.versions, lambda: self.sync.addresses, self.sockets.owner)
        return PacketHandler(
            self.config,
            self.sync,
            self.probe,
            refusals,
            self.sockets,
            self.origins,
            self.checks,
            self.writer,
            partial(self.problems.report, "packets"),
        )

    def _network_sync(self) -> NetworkSync:
        report, problem = self.journal.notice, partial(self.problems.report, "links")
        return NetworkSync(
            self.config,
            self.nft,
            self.second_lock,
            self.versions,
            report,
            problem,
            self._exceptions_changed,
            self._renew,
        )

    def _put_up_wall(self) -> None:
        """Load the wall as the network is now, a pause that goes on, and the queue rules. Raises StunwallError."""
        self.sync.put_up_wall()
        self.pause.renew()
        self.checks.renew()
        queue_rules.attach(self.nft, self.config.queue, self.sync.additions)
        self.queued_before = self.queue.received

    def _filled(self) -> Filled:
        return Filled(self.sync.filled, self.pause.left, self.pause.times_out)

    def _renew(self) -> None:
        self.repair.renew()

    def _exceptions_changed(self) -> None:
        self.repair.exceptions_changed()

    def _report_gap(self, gap: Gap) -> None:
        self._opened += 1
        self.writer.record(replace(Event.note(gap.start, GAP, gap.sentence), last_time=gap.end))
        if not gap.second_lock_held:
            self.ledger.past(Kind.WALL_GONE, gap.sentence, gap.end - gap.start)

    def follow_ledger(self) -> None:
        """Say in the ledger what is so now."""
        if self.pause.left:
            self.ledger.enter(Kind.PAUSED, self._paused_why)
        elif self.repair.failing:
            self.ledger.enter(Kind.WALL_GONE, "the wall could not be repaired")
        elif self.is_open:
            self.ledger.enter(Kind.OPEN, 'no VPN was up, and when_vpn_down = "allow"')
        elif self.packets.exposed_left:
            self.ledger.enter(Kind.EXPOSED, self.packets.exposed_why)
        elif (leak := self.proofs.leak) is not None:
            self.ledger.enter(Kind.LEAK, leak.sentence)
        else:
            self.ledger.enter(Kind.SEALED)

    def follow_check(self) -> None:
        """Ask for a check, if the VPN has come up and the user wants one then. During a pause it would find that."""
        wanted = self.config.check_every_vpn_up and not self.pause.left
        self.check_due.follow(self.sync.view.vpn, wanted)
        self.check_due.make()

    def _basis(self) -> int:
        """Return a number that is another one once the VPN, a way out, the wall or the configuration has changed."""
        config = replace(self.config, log=Retention(), status_for_all=False, check_every_vpn_up=False)
        view = self.sync.view
        return hash((self.started, self._opened, view.known, view.vpn, self.sync.ways, config))

    @property
    def is_open(self) -> bool:
        """Whether STUN may leave since no VPN is up."""
        view = self.sync.view
        return view.known and not view.vpn and self.config.when_vpn_down is WhenVpnDown.ALLOW


def find_wall(nft: Nft) -> tuple[Wall | None, FoundWall | None]:
    """Return the wall as it is, None if there is no table, and the same for the ledger, None if it has no rules.

    Raises NftError.
    """
    listing = state.read_listing(nft)
    read = time.clock_gettime(time.CLOCK_BOOTTIME)
    if listing is None:
        return None, None
    wall = state.wall(listing)
    return wall, FoundWall(read, state.age(listing), state.filled(listing)) if wall.rules else None


def _take_queue(config: Config) -> nfqueue.Queue:
    try:
        return nfqueue.Queue(config.queue, config.redirected_bit, config.passed_bit)
    except nfqueue.QueueError as error:
        if not (advice := modules.gone()):
            raise
        raise nfqueue.QueueError(f"{error}. If the module is missing: {advice}") from error


def _check_alone(nft: Nft, queue: int) -> None:
    """Raise if a living daemon serves this namespace's wall already."""
    wall = state.read(nft)
    if wall is not None and wall.queue is not None and wall.queue != queue and nfqueue.listener(wall.queue):
        raise StunwallError(
            f"another stunwalld guards this network namespace (queue {wall.queue}): stop that one first"
        )
