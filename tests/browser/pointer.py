"""What a reader does with the mouse: drag over a picture, write on the pad."""

SEVEN = [(0.28, 0.2), (0.72, 0.2), (0.45, 0.85)]  # strokes on the pad, (x, y) from 0 to 1


def drag(page, *places) -> None:
    """Press the mouse, move it through the places in the window, and let go."""
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def on_pad(page, strokes):
    """Places on the pad in the window, (x, y)."""
    pad = page.locator(".nca-pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in strokes]
