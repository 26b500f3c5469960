"""A scripted observer of the experiment page."""

import json
import time

POLL = 0.02


def wait(browser, condition):
    """Poll the page until a JavaScript expression is true."""
    deadline = time.time() + 30
    while not browser.run(f"!!({condition})"):
        if time.time() > deadline:
            text = browser.run("document.body.innerText")
            raise AssertionError(f"never true: {condition}; the page says: {text}")
        time.sleep(POLL)


def heading(browser, text):
    wait(browser, f"document.querySelector('h1')?.textContent === {json.dumps(text)}")


def press(browser, key):
    browser.call("Input.dispatchKeyEvent", type="rawKeyDown", key=key)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key=key)


def click(browser, selector):
    browser.run(f"document.querySelector({json.dumps(selector)}).click()")


def start(browser, number):
    """From the consent page to the instructions."""
    wait(browser, "document.querySelector('#agree')")
    click(browser, "#agree")
    click(browser, "form button.main")
    wait(browser, "document.querySelector('#number')")
    browser.run(f"document.querySelector('#number').value = '{number}'")
    click(browser, "form button.main")
    heading(browser, "What to do")
    click(browser, "form button.main")


def shown(browser):
    """Identities of target, left and right once the faces are open to an answer."""
    wait(browser, "document.querySelector('.choice[data-open]')")
    return browser.run(
        "[...document.querySelectorAll('.choice img')].map(image => window.STUDY.faces"
        ".find(face => image.getAttribute('src') === `faces/${face.file}`).name)"
    )


def tap(browser, side):
    place = browser.run(
        f"(() => {{ const b = document.querySelector('[data-side={side}]')"
        ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 3]; })()"
    )
    point = [{"x": place[0], "y": place[1]}]
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=point)
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def answer(browser, rule, touch=False):
    """Answer one comparison by a rule: (target, left, right) -> "left" or "right"."""
    faces = shown(browser)
    side = rule(*faces)
    # The next comparison may open before this one is seen to close: tell them apart by a mark.
    browser.run("document.querySelector('.choice[data-open]').dataset.seen = ''")
    if touch:
        tap(browser, side)
    else:
        press(browser, {"left": "ArrowLeft", "right": "j"}[side])
    wait(browser, "!document.querySelector('.choice[data-open][data-seen]')")
    return [*faces, side]


def practise(browser, rule, touch=False, count=2):
    """Answer the practice and begin."""
    for _ in range(count):
        answer(browser, rule, touch)
    heading(browser, "Ready?")
    click(browser, "form button.main")


def answer_all(browser, rule, count, touch=False):
    """Answer so many comparisons, going on after breaks: (target, left, right, side) of each."""
    given = []
    while len(given) < count:
        wait(browser, "document.querySelector('.choice[data-open], form button.main')")
        if browser.run("document.querySelector('h1').textContent") == "Break":
            click(browser, "form button.main")
        else:
            given.append(answer(browser, rule, touch))
    return given


def download(browser, folder):
    """Press the button; the text of the file the browser wrote."""
    folder.mkdir(exist_ok=True)
    before = set(folder.iterdir())
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    heading(browser, "Thank you")
    click(browser, "#download")
    deadline = time.time() + 30
    while not (new := [p for p in set(folder.iterdir()) - before if p.suffix == ".csv"]):
        assert time.time() < deadline, "nothing was downloaded"
        time.sleep(POLL)
    time.sleep(0.1)
    return new[0]


def prefer(differ, takes_first):
    """A rule: the first network's choice for targets that `takes_first` names, else the other."""
    first = dict(zip(differ["identity"], differ.iloc[:, 1], strict=True))

    def rule(target, left, right):
        if target in (left, right):
            return "left" if left == target else "right"
        return "left" if (left == first.get(target)) == takes_first(target) else "right"

    return rule
