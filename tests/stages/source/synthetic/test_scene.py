import itertools

import numpy as np
import pytest

from stages.source.synthetic.options import MAX_BIKES, MAX_PEOPLE, MAX_VEHICLES, SyntheticOptions
from stages.source.synthetic.render import Renderer
from stages.source.synthetic.scene import Scene
from stages.source.synthetic.truth import TrueObject, true_objects

SMALL = SyntheticOptions(size_wh=(320, 180), noise=0.0)


@pytest.mark.parametrize("time", ["day", "night"])
def test_the_same_seed_gives_the_same_bytes(time: str) -> None:
    options = SyntheticOptions(size_wh=(320, 180), time=time)  # type: ignore[arg-type]
    one, other = Renderer(Scene(options)), Renderer(Scene(options))
    in_order = [one.render(frame).i420.tobytes() for frame in range(0, 200, 40)]
    backwards = [other.render(frame).i420.tobytes() for frame in reversed(range(0, 200, 40))][::-1]
    assert in_order == backwards


def test_another_seed_gives_another_picture() -> None:
    one = Renderer(Scene(SMALL)).render(10)
    other = Renderer(Scene(SyntheticOptions(size_wh=(320, 180), noise=0.0, seed=2))).render(10)
    assert (one.i420 != other.i420).mean() > 0.02


def test_something_moves_from_frame_to_frame_and_the_noise_changes() -> None:
    quiet = Renderer(Scene(SMALL))
    moved = (quiet.render(0).i420 != quiet.render(1).i420).mean()
    assert 0.002 < moved < 0.5
    noisy = Renderer(Scene(SyntheticOptions(size_wh=(320, 180), people=0, vehicles=0, bikes=0)))
    first, second = noisy.render(0).i420.astype(int), noisy.render(1).i420.astype(int)
    assert 1.0 < (first - second)[:180].std() < 8.0


def test_the_picture_is_like_a_decoders() -> None:
    picture = Renderer(Scene(SMALL)).render(0)
    planes = picture.planes()
    assert picture.size_wh == planes.size_wh == (320, 180)
    assert planes.u is not None
    assert planes.v is not None
    assert planes.y.shape == (180, 320)
    assert planes.u.shape == planes.v.shape == (90, 160)
    assert not planes.y.flags.writeable
    assert not planes.u.flags.writeable
    assert planes.y.min() >= 0
    assert planes.y.max() <= 240
    assert not planes.full_range


@pytest.mark.parametrize("size_wh", [(64, 64), (1280, 720), (360, 640)])
def test_other_sizes_can_be_rendered(size_wh: tuple[int, int]) -> None:
    scene = Scene(SyntheticOptions(size_wh=size_wh))
    picture = Renderer(scene).render(3)
    assert picture.planes().y.shape == (size_wh[1], size_wh[0])
    for truth in true_objects(scene, 3):
        x1, y1, x2, y2 = truth.xyxy_px
        assert 0 <= x1 < x2 <= size_wh[0]
        assert 0 <= y1 < y2 <= size_wh[1]


@pytest.mark.parametrize(
    ("counts", "kind"),
    [({"people": 1}, "person"), ({"vehicles": 1}, "vehicle"), ({"parked": 1}, "vehicle")],
)
def test_a_box_is_that_of_the_drawn_pixels(counts: dict[str, int], kind: str) -> None:
    options = SyntheticOptions(
        **{"people": 0, "vehicles": 0, "bikes": 0, "parked": 0, **counts},  # type: ignore[arg-type]
        size_wh=(640, 360),
        noise=0.0,
        seed=4,
    )
    checked = 0
    scene = Scene(options)
    nobody = SyntheticOptions(people=0, vehicles=0, bikes=0, parked=0, seed=4, noise=0.0)
    empty = Renderer(Scene(nobody)).paint(0).astype(int)
    renderer = Renderer(scene)
    for frame in range(0, 250, 25):
        difference = np.abs(renderer.paint(frame) - empty).max(axis=2)
        for truth in true_objects(scene, frame):
            assert truth.kind == kind
            if truth.visible_xyxy_px is None:
                continue
            x1, y1, x2, y2 = truth.visible_xyxy_px
            # the shadow differs too: outside the box only what lies on the ground may differ, and darken only a little
            inside = difference[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] > 24
            rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
            assert rows[0] <= 2
            assert columns[0] <= 2
            assert len(inside) - rows[-1] <= 3
            assert inside.shape[1] - columns[-1] <= 3
            above = difference[: max(0, int(y1) - 1)]
            assert (above > 24).sum() == 0
            checked += 1
    assert checked >= 3


def test_a_rider_comes_with_a_bike() -> None:
    scene = Scene(SyntheticOptions(people=0, vehicles=0, bikes=1, parked=0, seed=3))
    seen = [true_objects(scene, frame) for frame in range(0, 200, 10)]
    whole = [found for found in seen if len(found) == 2 and all(t.truncated == 0 for t in found)]
    assert whole
    for found in whole:
        person, bike = sorted(found, key=lambda truth: truth.kind, reverse=True)
        assert (person.kind, bike.kind) == ("person", "bike")
        assert bike.rider == person.id != bike.id
        assert person.xyxy_px[1] < bike.xyxy_px[1]
        assert person.xyxy_px[3] <= bike.xyxy_px[3] + 2
        # the rider's leg hides a part of the bike, and nothing of the rider is behind it
        assert 0.4 < bike.visible < 1.0


def crowded(frames: range) -> list[tuple[TrueObject, ...]]:
    scene = Scene(SyntheticOptions(people=16, vehicles=4, bikes=2, seed=5))
    return [true_objects(scene, frame) for frame in frames]


def test_boxes_and_shares_are_consistent() -> None:
    hidden = cut = 0
    for found in crowded(range(0, 300, 30)):
        assert [truth.id for truth in found] == sorted({truth.id for truth in found})
        for truth in found:
            assert 0.0 <= truth.visible <= 1.0
            assert 0.0 <= truth.truncated < 1.0
            assert truth.visible + truth.truncated <= 1.0 + 1e-9
            full, clipped, visible = truth.full_xyxy_px, truth.xyxy_px, truth.visible_xyxy_px
            assert full[0] <= clipped[0] < clipped[2] <= full[2]
            assert full[1] <= clipped[1] < clipped[3] <= full[3]
            assert (visible is None) == (truth.visible == 0.0)
            if visible is not None:
                assert clipped[0] <= visible[0] < visible[2] <= clipped[2]
                assert clipped[1] <= visible[1] < visible[3] <= clipped[3]
                assert truth.area_px <= (visible[2] - visible[0]) * (visible[3] - visible[1])
            hidden += truth.occluded > 0.3
            cut += truth.truncated > 0.3
    assert hidden > 5
    assert cut > 5


def test_the_hidden_share_is_what_the_painter_covers() -> None:
    """Counted anew from the painted ids: what a nearer object or a prop has covered is hidden, the rest is not."""
    scene = Scene(SyntheticOptions(people=12, vehicles=3, bikes=0, seed=8))
    frame = 60
    from stages.source.synthetic.shapes import paint_mask

    width, height = (side * scene.camera.canvas_scale for side in scene.camera.size_wh)
    drawings = scene.stage(frame).drawings
    truths = {truth.id: truth for truth in true_objects(scene, frame)}
    for i, drawing in enumerate(drawings):
        if drawing.id not in truths:
            continue
        own = np.zeros((height, width), np.uint8)
        paint_mask(own, drawing.shapes, 1)
        if truths[drawing.id].truncated > 0:
            continue
        total = own.sum(dtype=int)
        for nearer in drawings[i + 1 :]:
            paint_mask(own, nearer.shapes, 0)
        for layer in scene.backdrop.layers:
            if layer.z <= drawing.z:
                tall, wide = layer.mask.shape
                own[layer.y : layer.y + tall, layer.x : layer.x + wide][layer.mask > 0] = 0
        assert truths[drawing.id].visible == pytest.approx(own.sum(dtype=int) / total)


def test_ids_are_never_used_again_and_the_population_is_steady() -> None:
    scene = Scene(SyntheticOptions(people=6, vehicles=3, bikes=2, parked=1, seed=2))
    last_seen: dict[int, int] = {}
    kinds: dict[int, str] = {}
    for second in range(0, 120):
        now = float(second)
        walkers, drivers, riders = (scene.traffic.walkers(now), scene.traffic.drivers(now), scene.traffic.riders(now))
        assert (len(walkers), len(drivers), len(riders)) == (6, 3, 2)
        ids = [*(("person", w.id) for w in walkers), *(("vehicle", d.id) for d in drivers)]
        ids += [pair for r in riders for pair in (("person", r.id), ("bike", r.bike_id))]
        ids += [("vehicle", parked[0]) for parked in scene.traffic.parked]
        assert len({number for _, number in ids}) == len(ids)
        for kind, number in ids:
            assert kinds.setdefault(number, kind) == kind
            # who was away stays away
            assert last_seen.get(number, second - 1) == second - 1 or number not in last_seen
            last_seen[number] = second
    assert len(kinds) > 40


def test_people_are_in_view_nearly_all_the_time() -> None:
    scene = Scene(SyntheticOptions(people=8, vehicles=0, bikes=0, parked=0, seed=6))
    counts = []
    for frame in range(0, 1500, 75):
        drawn = scene.stage(frame).drawings
        left, right = zip(*(_sides(drawing.shapes, scene) for drawing in drawn), strict=True)
        counts.append(sum(a < 640 and b > 0 for a, b in zip(left, right, strict=True)))
    assert min(counts) >= 5
    assert np.mean(counts) > 7


def _sides(shapes: object, scene: Scene) -> tuple[float, float]:
    from stages.source.synthetic.shapes import extent

    box = extent(shapes)  # type: ignore[arg-type]
    return box[0] / scene.camera.canvas_scale, box[2] / scene.camera.canvas_scale


def test_vehicles_of_a_lane_never_touch() -> None:
    for vehicles in (3, 7, 12):
        scene = Scene(SyntheticOptions(people=0, vehicles=vehicles, bikes=0, seed=vehicles))
        for tick in range(0, 300):
            drivers = scene.traffic.drivers(tick * 0.2)
            for lane in {driver.z for driver in drivers}:
                along = sorted(
                    (driver.x(tick * 0.2), driver.vehicle.length_m) for driver in drivers if driver.z == lane
                )
                for (x1, length1), (x2, length2) in itertools.pairwise(along):
                    assert x2 - x1 > (length1 + length2) / 2


def test_a_walkers_standing_foot_does_not_slide() -> None:
    """The foot on the ground stays where it is while the body moves on: gait and speed belong together."""
    from stages.source.synthetic import gait

    height = np.array([1.75])
    stride = 0.8 * 1.75
    slides = []
    for step in range(100):
        a, b = step / 100, (step + 1) / 100
        feet = []
        for phase in (a, b):
            points = gait.walk(
                np.array([phase]), np.ones(1), np.ones((1, 2)), np.full((1, 2), 14.0), height, np.ones(1)
            )
            feet.append(points[0, gait.LEFT + gait.ANKLE] + [phase * stride, 0.0, 0.0])
        if 0.12 <= a < 0.42:
            slides.append(feet[1][0] - feet[0][0])
    assert abs(np.sum(slides)) < 0.12
    assert np.abs(slides).max() < 0.02


def test_feet_touch_the_ground_and_never_go_below() -> None:
    from stages.source.synthetic import gait

    phases = np.linspace(0, 1, 50)
    count = len(phases)
    points = gait.walk(
        phases, np.ones(count), np.ones((count, 2)), np.full((count, 2), 14.0), np.full(count, 1.7), np.ones(count)
    )
    lowest = points[:, [gait.LEFT + gait.HEEL, gait.LEFT + gait.TOE, gait.RIGHT + gait.HEEL, gait.RIGHT + gait.TOE], 2]
    assert lowest.min() > 0.0
    assert (lowest.min(axis=1) < 0.05).all()


def test_the_street_takes_as_many_as_the_limits_allow_and_none() -> None:
    full = SyntheticOptions(
        people=MAX_PEOPLE, vehicles=MAX_VEHICLES, bikes=MAX_BIKES, parked=3, size_wh=(320, 180), time="night"
    )
    scene = Scene(full)
    renderer = Renderer(scene)
    assert renderer.render(0).size_wh == (320, 180)
    assert len(true_objects(scene, 100)) > 40
    nobody = Scene(SyntheticOptions(people=0, vehicles=0, bikes=0, parked=0, size_wh=(320, 180)))
    assert Renderer(nobody).render(5).size_wh == (320, 180)
    assert true_objects(nobody, 5) == ()
