"""The story: three releases of digits on their way to production, told as it happens.

Nothing here makes anything happen but the pushes. Everything told is read from Git, the cluster, Prefect and
the visitors' log.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.demo import ending
from tidegate.demo.answers import tally
from tidegate.demo.places import Places
from tidegate.demo.repositories import Pushed, push_release
from tidegate.demo.scene import Course, Scene
from tidegate.demo.screen import Screen
from tidegate.demo.table import Told, closing
from tidegate.demo.telling import told
from tidegate.demo.world import World, end_pods
from tidegate.errors import TidegateError
from tidegate.running.processes import Processes
from tidegate.running.up import Platform, alone, hear_sigterm
from tidegate.settings import Settings, settings

LOOK_SECONDS = 0.5
ASK_PREFECT_EVERY = 4
"""Looks; Prefect's answer costs its server more than ours costs us."""
PATIENCE_SECONDS = 240.0
"""A release that has not come to its end by then never will."""
QUIET_SECONDS = 8.0
"""Traffic on stable alone before the next release, so that there is something to compare with."""


class Stuck(TidegateError):
    """The story does not go on."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One release of the story."""

    number: int
    title: str
    text: str
    over: Callable[[Course], bool]
    """Whether its part of the story has come to its end."""


def _live(course: Course) -> bool:
    return course.live("production") is not None


def _undone(course: Course) -> bool:
    return course.rolled_back is not None


CHAPTERS = (
    Chapter(
        1,
        "Release 1: digits is born",
        "A commit in the source repository: audited, tested, built, promoted to staging, then to production.",
        _live,
    ),
    Chapter(
        2,
        "Release 2: fine in CI, fine in staging, bad for users",
        "Its tests pass. In production some visitors have older scanners, which nobody thought of.",
        _undone,
    ),
    Chapter(
        3,
        "Release 3: the fix",
        "Newer than the one that is held: it may go, 20 % first, then 50 %, then everybody.",
        _live,
    ),
)


class Story:
    """Plays the chapters in a running world."""

    def __init__(self, screen: Screen, places: Places, processes: Processes, scene: Scene) -> None:
        self.screen, self.places, self.processes, self.scene = screen, places, processes, scene
        self.told: list[Told] = []

    def play(self) -> None:
        """All chapters; `Stuck` when one does not come to its end."""
        for chapter in CHAPTERS:
            self._play(chapter)

    def _play(self, chapter: Chapter) -> None:
        self.screen.chapter(chapter.title, chapter.text)
        began = time.time()
        pushed = push_release(self.places.digits, chapter.number)
        self.screen.line("push", f"{pushed.revision[:7]} {pushed.subject}")
        course = self._follow(chapter, pushed, began)
        self._settle(chapter)
        self.scene.answers.refresh()
        visits = tally(self.scene.answers.between(began, time.time()))
        self.told.append(Told(chapter.number, pushed, began, course, visits))
        if chapter.number == 2:
            hurt = f"{visits.hurt} of {visits.total} requests failed; stable was never touched"
            self.screen.line("visitors", hurt)

    def _follow(self, chapter: Chapter, pushed: Pushed, began: float) -> Course:
        shown = 0
        deadline = time.monotonic() + PATIENCE_SECONDS
        looks = 0
        activity = ""
        while True:
            course = self.scene.course(pushed.revision)
            for record in course.records[shown:]:
                place, text, style = told(record)
                self.screen.line(place, text, style=style, seconds=record.at.timestamp() - began)
            shown = len(course.records)
            if chapter.over(course):
                return course
            if course.refused:
                raise Stuck(f"release {chapter.number} was refused: {course.refused.message}")
            if time.monotonic() > deadline:
                raise Stuck(
                    f"release {chapter.number} has not come to its end in {PATIENCE_SECONDS:.0f} s; "
                    f"see the runs at {self.scene.platform.ui} and the logs in {self.places.logs}"
                )
            if looks % ASK_PREFECT_EVERY == 0:
                activity = self.scene.activity()
            looks += 1
            self._look(activity)

    def _settle(self, chapter: Chapter) -> None:
        """Until the canary is gone and, but for the last chapter, stable has served alone for a while."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "digits-canary" in self.scene.deployments("production"):
            if time.monotonic() > deadline:
                raise Stuck(f"release {chapter.number}: its canary is still there")
            self._look("removing the canary")
        until = time.monotonic() + (QUIET_SECONDS if chapter is not CHAPTERS[-1] else 0)
        while time.monotonic() < until:
            self._look("visitors are served")

    def _look(self, activity: str) -> None:
        """Wait a little; bring back what died; show what is going on."""
        for name in self.processes.revive():
            self.screen.line(name, "had ended and was started again")
        self.scene.answers.refresh()
        now = self.scene.answers.lately()
        visitors = f"visitors {now.total / 5:.0f}/s, {now.hurt} hurt" if now.total else "no visitors yet"
        self.screen.status(f"{activity or 'waiting for git-sync'}  ·  {visitors}")
        time.sleep(LOOK_SECONDS)


def demo(given: Settings | None = None, *, screen: Screen | None = None, stay: bool | None = None) -> int:
    """Play the story and check its end; the exit code. `stay` (default: at a terminal): until Ctrl-C."""
    how, screen = given or settings(), screen or Screen()
    places = Places(how.home)
    stay = screen.is_live and os.environ.get("CI") != "true" if stay is None else stay
    hear_sigterm()
    try:
        with alone(how.home), Processes(places.logs) as processes:
            processes.end_leftovers()
            end_pods(places)
            places.clear()
            code = _show(screen, World(processes, places, how), stay)
            screen.say("Stopping everything that was started.")
    except KeyboardInterrupt:
        screen.say("\nStopped.")
        return 0 if stay else 130
    return code


def _show(screen: Screen, world: World, stay: bool) -> int:
    with screen.playing():
        platform, scene = _open(screen, world)
        story = Story(screen, world.places, world.processes, scene)
        began = time.monotonic()
        story.play()
        took = time.monotonic() - began
    screen.say()
    screen.table(closing(story.told))
    problems = ending.problems(scene, story.told)
    for problem in problems:
        screen.say(f"[red]not as it should be:[/red] {problem}")
    if not problems:
        screen.say(f"Everything is as it should be. The story took {took:.0f} s.")
    if stay:
        _stay(screen, world, platform.ui)
    return 1 if problems else 0


def _open(screen: Screen, world: World) -> tuple[Platform, Scene]:
    platform = world.start_parts()
    screen.say(f"[bold]Prefect UI[/bold]  {platform.ui}   (in a few seconds)")
    screen.chapter("Setting the scene", "Everything runs here, on free loopback ports, and ends with this.")
    screen.status("starting the embedded cluster and a Git server")
    addresses = world.wait_parts()
    screen.line("cluster", f"{addresses.cluster}, for trying out only; registry {addresses.registry}")
    screen.line("git", f"{addresses.git}: repositories digits (source) and fleet (configuration)")
    screen.line("prometheus", addresses.prometheus)
    world.create_repositories(addresses)
    screen.status("starting the Prefect server and registering the flows")
    world.start_delivery(platform)
    screen.line("prefect", f"{platform.ui}, flows registered, runner started")
    world.start_visitors(addresses)
    world.write_env_file(platform)
    return platform, Scene(world.places, addresses, platform)


NEXT = """
[bold]It keeps running. In another terminal:[/bold]

  source {env}
  [cyan]cd {digits} && $EDITOR model.py && git commit -am "Try this" && git push[/cyan]
  [cyan]tidegate status[/cyan]
  [cyan]tidegate history digits[/cyan]
  [cyan]kubectl get pods --all-namespaces --show-labels[/cyan]

Prefect UI  {ui}
Ctrl-C stops everything.
"""


def _stay(screen: Screen, world: World, ui: str) -> None:
    places = world.places
    screen.say(NEXT.format(env=places.env_file, digits=places.digits, ui=ui))
    while True:
        time.sleep(LOOK_SECONDS)
        for name in world.processes.revive():
            screen.say(f"{name} had ended and was started again")
