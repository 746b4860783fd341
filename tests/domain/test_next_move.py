"""What comes next for a stage: a table of single answers, and a machine that plays whole histories."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tidegate.domain.gate import Outcome, Sample, Verdict
from tidegate.domain.health import Health, HealthStatus
from tidegate.domain.moves import (
    Clear,
    Deploy,
    Finish,
    Hold,
    Move,
    Promote,
    Reason,
    Render,
    RollBack,
    Settled,
    Shift,
)
from tidegate.domain.promotion import Good, Held, Intent, StageView, next_move
from tidegate.domain.release import Image, Release
from tidegate.domain.rollout import Canary
from tidegate.spec import Gate, Ratio, Rollout, Section, Stage, Threshold

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
GATE = Gate(
    metrics=Section(kind="prometheus"), checks=(Threshold(name="errors", query="up", max=1.0),), every="10s"
)
CANARY = Stage(
    name="production",
    path="shop/production",
    target=Section(kind="kubernetes"),
    rollout=Rollout(weights=(20, 50), every="30s"),
    gate=GATE,
)
RATIO = CANARY.model_copy(
    update={"gate": GATE.model_copy(update={"checks": (Ratio(name="errors", bad="b", total="t"),)})}
)
PLAIN = CANARY.model_copy(update={"rollout": None, "gate": None})


def release(number: int) -> Release:
    return Release(
        app="shop",
        revision=f"{number:040x}",
        height=number,
        images=(Image("shop", f"sha256:{number:064x}"),),
        created=NOW + timedelta(seconds=number),
    )


R1, R2, R3 = release(1), release(2), release(3)
LIVE = StageView(
    app="shop",
    stage=CANARY,
    now=NOW,
    candidate=R1,
    promoted=R1,
    head="c1",
    intent=Intent("t1", R1.id, "c1"),
    good=Good("t1", R1.id, NOW),
)
MID = replace(
    LIVE,
    candidate=R2,
    promoted=R2,
    head="c2",
    intent=Intent("t2", R2.id, "c2"),
    calls_for_canary=True,
    canary=Canary(R2.id, "t2", 20, NOW - timedelta(seconds=60), NOW - timedelta(seconds=60)),
    verdict=Verdict(Outcome.Running, "going", samples=(Sample(0.0, (0.0, 1.0)),)),
)
FIRST = replace(MID, good=None, canary=None, verdict=None)
TRIAL = replace(FIRST, trial=Canary(R2.id, "t2", 100, NOW, NOW))


def said(outcome: Outcome, gap: str | None = None) -> Verdict:
    return Verdict(outcome, outcome.value, samples=(Sample(0.0, (0.0, 1.0), gap=gap),))


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(LIVE, Settled, id="what is live and wanted stays"),
        pytest.param(replace(LIVE, candidate=R2), Promote, id="a newer release is promoted"),
        pytest.param(
            replace(LIVE, candidate=None, promoted=None, intent=None, good=None), Hold, id="no release"
        ),
        pytest.param(replace(LIVE, head_differs=True), Render, id="a config commit becomes the intent"),
        pytest.param(replace(LIVE, drift=("ConfigMap a is missing",)), Deploy, id="drift is put right"),
        pytest.param(replace(MID, canary=None), Shift, id="a change of pods starts with a canary"),
        pytest.param(
            replace(MID, canary=None, leftovers=2),
            Hold,
            id="a canary waits until an earlier one's pods are gone",
        ),
        pytest.param(
            replace(MID, canary=replace(MID.canary, commit="t1")),  # type: ignore[type-var]
            Clear,
            id="the canary of an earlier intent goes first",
        ),
        pytest.param(
            replace(MID, calls_for_canary=False, canary=None), Deploy, id="other changes go directly"
        ),
        pytest.param(replace(FIRST, stage=RATIO), Deploy, id="the first release has nothing to compare with"),
        pytest.param(replace(MID, stage=PLAIN), Deploy, id="a stage without rollout deploys directly"),
        pytest.param(replace(MID, verdict=said(Outcome.Failed)), RollBack, id="a failed gate is undone"),
        pytest.param(replace(MID, verdict=said(Outcome.Error)), RollBack, id="no evidence is undone"),
        pytest.param(replace(MID, verdict=said(Outcome.Inconclusive)), Hold, id="inconclusive asks a person"),
        pytest.param(
            replace(MID, verdict=said(Outcome.Running)), Shift, id="evidence lets the next weight through"
        ),
        pytest.param(replace(MID, verdict=said(Outcome.Running, "stale")), Hold, id="a gap keeps the weight"),
        pytest.param(replace(MID, verdict=None), Hold, id="no verdict keeps the weight"),
        pytest.param(
            replace(MID, canary_health=Health(HealthStatus.Degraded, "CrashLoopBackOff")),
            RollBack,
            id="a crashing canary is undone",
        ),
        pytest.param(
            replace(MID, passed=True, verdict=None, canary=None), Finish, id="a recorded yes is finished"
        ),
        pytest.param(replace(MID, rewritten=True), Hold, id="rewritten history stops"),
        pytest.param(
            replace(MID, rewritten=True, approvals={"rewritten:c2": frozenset({"ada"})}),
            Shift,
            id="rewritten history that a person has seen goes on",
        ),
        pytest.param(
            replace(MID, held=(Held(f"failed:{R2.id}", R2.id, "t2", "bad"),)),
            RollBack,
            id="a held intent is undone",
        ),
        pytest.param(
            replace(MID, problem="line 3"), Shift, id="a broken head does not stop what is under way"
        ),
        pytest.param(
            replace(LIVE, candidate=R2, problem="line 3"), Hold, id="a broken head is not promoted into"
        ),
        pytest.param(
            replace(MID, offline=True, verdict=said(Outcome.Failed)), RollBack, id="undoing needs no remote"
        ),
        pytest.param(replace(MID, offline=True), Hold, id="going forward needs the remote"),
        pytest.param(replace(MID, candidate=R3), Promote, id="a newer release supersedes a canary"),
        pytest.param(
            replace(MID, candidate=R3, stage=CANARY.model_copy(update={"supersede": "finish"})),
            Shift,
            id="with supersede: finish the running one ends first",
        ),
    ],
)
def test_the_next_move(view: StageView, expected: type[Move]) -> None:
    assert type(next_move(view)) is expected, next_move(view)


def test_the_last_weight_finishes_only_on_a_successful_gate() -> None:
    last = replace(MID, canary=replace(MID.canary, weight=50))  # type: ignore[type-var]
    answers = {o: type(next_move(replace(last, verdict=said(o)))) for o in Outcome}
    assert answers == {
        Outcome.Successful: Finish,
        Outcome.Failed: RollBack,
        Outcome.Error: RollBack,
        Outcome.Inconclusive: Hold,
        Outcome.Running: Hold,
    }


def test_a_first_release_is_judged_by_thresholds_where_there_are_any() -> None:
    assert next_move(FIRST) == Deploy(f"shop {R2.id} → production, on trial", on_trial=True)
    assert next_move(replace(FIRST, stage=RATIO)) == Deploy(f"shop {R2.id} → production")
    assert isinstance(next_move(TRIAL), Hold)
    answers = {o: type(next_move(replace(TRIAL, verdict=said(o)))) for o in Outcome}
    assert answers == {
        Outcome.Successful: Finish,
        Outcome.Failed: RollBack,
        Outcome.Error: RollBack,
        Outcome.Inconclusive: Hold,
        Outcome.Running: Hold,
    }


def test_a_weight_lasts_as_long_as_the_spec_says() -> None:
    young = replace(MID, canary=replace(MID.canary, step_started=NOW - timedelta(seconds=10)))  # type: ignore[type-var]
    move = next_move(young)
    assert isinstance(move, Hold)
    assert move.reason is Reason.Step
    assert move.until == NOW + timedelta(seconds=20)


def test_approval_is_asked_for_by_release_and_counts_people() -> None:
    stage = CANARY.model_copy(update={"approval": {"need": 2}})
    stage = Stage.model_validate({**CANARY.model_dump(by_alias=True), "approval": {"need": 2}})
    view = replace(LIVE, stage=stage, candidate=R2)
    key = f"approval:{R2.id}"
    assert isinstance(move := next_move(view), Hold)
    assert move.key == key
    assert isinstance(next_move(replace(view, approvals={key: frozenset({"ada"})})), Hold)
    assert isinstance(next_move(replace(view, approvals={key: frozenset({"ada", "bob"})})), Promote)


def test_a_release_older_than_a_held_one_is_not_brought_back() -> None:
    view = replace(LIVE, candidate=R2, newest_held=R3.order)
    assert isinstance(next_move(view), Settled)


class Deliveries(RuleBasedStateMachine):
    """Plays releases, verdicts, crashes and people against `next_move`, on a world as small as a dictionary.

    The machine makes each move the way the operations do (ledger first, then Git, then cluster) and may stop
    after any of these effects, like a process that was killed.
    """

    @initialize(on_failure=st.sampled_from(["rollback", "hold"]), plain=st.booleans())
    def begin(self, on_failure: str, plain: bool) -> None:
        self.stage = (PLAIN if plain else CANARY).model_copy(update={"on_failure": on_failure})
        self.releases: list[Release] = []
        self.now = NOW
        self.promoted: Release | None = None
        self.intent: Intent | None = None
        self.intent_release: Release | None = None
        self.good: Good | None = None
        self.good_release: Release | None = None
        self.canary: Canary | None = None
        self.trial: Canary | None = None
        self.verdict: Verdict | None = None
        self.held: list[Held] = []
        self.ever_held: set[str] = set()
        self.lifted: set[str] = set()
        self.passed: set[str] = set()
        self.failing: set[str] = set()
        self.commits = 0

    def view(self) -> StageView:
        changed = bool(
            self.intent_release and self.good_release and self.intent_release.id != self.good_release.id
        )
        orders = [r.order for r in self.releases if any(h.release == r.id for h in self.held)]
        trying = bool(self.canary and self.intent and self.canary.commit == self.intent.commit)
        trial = self.trial if self.trial and self.intent and self.trial.commit == self.intent.commit else None
        return StageView(
            app="shop",
            stage=self.stage,
            now=self.now,
            candidate=max(self.releases, key=lambda r: r.order, default=None),
            promoted=self.promoted,
            head="head",
            head_differs=bool(
                self.promoted and (not self.intent_release or self.promoted.id != self.intent_release.id)
            ),
            intent=self.intent,
            good=self.good,
            held=tuple(self.held),
            newest_held=max(orders, default=None),
            approvals={key: frozenset({"ada"}) for key in self.lifted},
            canary=self.canary,
            trial=trial,
            calls_for_canary=changed,
            verdict=self.verdict if trying or trial else None,
            passed=bool(self.intent and self.intent.commit in self.passed),
        )

    @precondition(lambda self: len(self.releases) < 6)
    @rule(fails=st.booleans())
    def push(self, fails: bool) -> None:
        new = release(len(self.releases) + 1)
        self.releases.append(new)
        if fails:
            self.failing.add(new.id)

    @rule(outcome=st.sampled_from(list(Outcome)), gap=st.sampled_from([None, "stale"]))
    def measure(self, outcome: Outcome, gap: str | None) -> None:
        self.verdict = said(outcome, gap)

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.held)
    @rule()
    def approve(self) -> None:
        held = self.held.pop()
        self.lifted.add(held.key)
        self.ever_held.discard(held.release)

    @rule(looks=st.integers(1, 8), stop_after=st.integers(0, 3))
    def deliver(self, looks: int, stop_after: int) -> None:
        """Some looks, each with its whole move; the process dies within the last one."""
        for left in reversed(range(looks)):
            move = next_move(self.view())
            assert next_move(self.view()) == move
            for effect in self.effects(move)[: None if left else stop_after]:
                effect()

    def effects(self, move: Move) -> list:  # type: ignore[type-arg]
        match move:
            case Promote(release=new):
                assert new.id not in {h.release for h in self.held}
                return [lambda: setattr(self, "promoted", new)]
            case Render():
                return [self.render]
            case Deploy():
                assert self.intent_release is not None
                if self.intent_release.id in self.failing and self.good_release != self.intent_release:
                    return self.undo("not well")
                return [self.try_out] if move.on_trial else [self.sync]
            case Clear():
                return [lambda: setattr(self, "canary", None)]
            case Shift(weight=weight, fresh=fresh):
                assert not fresh or self.canary is None, "two canaries at once are judged together"
                return [lambda: self.shift(weight, fresh)]
            case Finish(verdict=verdict):
                assert self.intent is not None
                commit = self.intent.commit
                approved = {f"inconclusive:{commit}", f"failed:{self.intent.release}"} & self.lifted
                assert (
                    approved or commit in self.passed or (verdict and verdict.outcome is Outcome.Successful)
                )
                return [lambda: self.passed.add(commit), self.sync]
            case RollBack():
                return self.undo(move.message)
            case Hold() | Settled():
                return []

    def undo(self, message: str) -> list:  # type: ignore[type-arg]
        intent, good, good_release = self.intent, self.good, self.good_release
        assert intent is not None
        bad = "" if good and good.release == intent.release else intent.release

        def hold() -> None:
            if not any(h.commit == intent.commit for h in self.held):
                self.held.append(Held(f"failed:{bad or intent.commit}", bad, intent.commit, message))
                self.ever_held.add(bad)
                self.lifted.discard(f"failed:{bad or intent.commit}")

        if good is None or self.stage.on_failure == "hold":
            return [hold]
        return [hold, lambda: setattr(self, "promoted", good_release), lambda: self.intend(good_release)]

    def render(self) -> None:
        self.intend(self.promoted)

    def intend(self, what: Release | None) -> None:
        assert what is not None
        self.commits += 1
        self.intent, self.intent_release = Intent(f"t{self.commits}", what.id, "head"), what

    def shift(self, weight: int, fresh: bool) -> None:
        assert self.intent is not None
        assert self.intent_release is not None
        assert self.intent_release.id not in {h.release for h in self.held}
        started = self.now if fresh or not self.canary else self.canary.started
        if fresh:
            self.verdict = None
        self.canary = Canary(self.intent.release, self.intent.commit, weight, started, self.now)

    def try_out(self) -> None:
        assert self.intent is not None
        self.trial = Canary(self.intent.release, self.intent.commit, 100, self.now, self.now)
        self.verdict = None

    def sync(self) -> None:
        assert self.intent is not None
        assert self.intent_release is not None
        assert self.intent_release.id not in {h.release for h in self.held if h.commit == self.intent.commit}
        self.good, self.good_release = (
            Good(self.intent.commit, self.intent.release, self.now),
            self.intent_release,
        )
        self.canary = None

    @invariant()
    def nothing_held_is_live(self) -> None:
        live = getattr(self, "good_release", None)
        assert live is None or live.id not in self.ever_held

    @invariant()
    def enough_looks_come_to_rest(self) -> None:
        """Without news, a few dozen moves end in Settled or Hold: nothing flaps."""
        if not hasattr(self, "releases"):
            return
        kept = dict(self.__dict__)
        self.__dict__.update(
            {
                k: (list(v) if isinstance(v, list) else set(v) if isinstance(v, set) else v)
                for k, v in kept.items()
            }
        )
        for _ in range(60):
            move = next_move(self.view())
            if isinstance(move, Hold | Settled):
                break
            for effect in self.effects(move):
                effect()
        else:
            raise AssertionError(f"never at rest: {move}")
        newest = max(self.releases, key=lambda r: r.order, default=None)
        if newest and newest.id not in self.failing and not any(h.release == newest.id for h in self.held):
            assert self.promoted == newest, (move, self.promoted)
            assert self.stage.rollout or self.good_release == newest, move
        self.__dict__.clear()
        self.__dict__.update(kept)


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = hypothesis_settings(
    max_examples=300, stateful_step_count=25, deadline=None, print_blob=True
)
