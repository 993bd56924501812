"""Sinks: what goes over the wire, what is sent again, and that no secret is ever shown."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from budgetguard.alerts import Alert, Alerts, Email, Log, Webhook
from budgetguard.alerts.sinks.threads import AGAIN_S, SinkThread
from budgetguard.alerts.sinks.webhook import ATTEMPTS, UndeliveredError
from budgetguard.concurrency import errands
from budgetguard.errors import ConfigError
from tests.support.alerting import MailServer, Receiver, mail_server, receiver, until

ALERT = Alert(
    "threshold",
    "free/<!channel> & @everyone (2027-01-01): $0.5 of $1 spent",
    "free/x/2027-01-01@0.5",
    1_798_804_800_000,
    budget="free",
    subject="x",
    account="free/x/2027-01-01",
    part=0.5,
    settled=500_000_000,
    limit=1_000_000_000,
)
SECRET = "a secret that nobody is to see"


@pytest.fixture
def heard() -> Iterator[Receiver]:
    """A webhook's receiver."""
    with receiver() as made:
        yield made


@pytest.fixture
def mails() -> Iterator[MailServer]:
    """A mail server."""
    with mail_server() as made:
        yield made


def test_a_webhook_posts_json_in_dollars(heard: Receiver) -> None:
    """A receiver does no arithmetic in nano-dollars."""
    Webhook(heard.url).send(ALERT)
    [got] = heard.got
    assert got.path == "/services/T0/SECRET"
    assert got.headers["content-type"] == "application/json"
    assert got.json == {
        "id": "free/x/2027-01-01@0.5",
        "what": "threshold",
        "at": "2027-01-01T12:00:00+00:00",
        "text": ALERT.text,
        "budget": "free",
        "subject": "x",
        "account": "free/x/2027-01-01",
        "unit": "dollars",
        "part": 0.5,
        "settled": 0.5,
        "held": 0.0,
        "limit": 1.0,
    }
    assert "budgetguard-signature" not in got.headers


def test_a_signed_webhook_can_be_checked(heard: Receiver) -> None:
    """Else anybody who learns the receiver's address can tell it anything."""
    Webhook(heard.url, SECRET, clock=lambda: 1_798_804_800.7).send(ALERT)
    [got] = heard.got
    at, given = got.headers["budgetguard-signature"].split(",")
    assert at == "t=1798804800"
    wanted = hmac.new(SECRET.encode(), b"1798804800." + got.body, hashlib.sha256).hexdigest()
    assert given == f"v1={wanted}"


def test_slack_reads_no_markup_in_a_name(heard: Receiver) -> None:
    """A user who is called "<!channel>" would wake everybody."""
    Webhook(heard.url, style="slack").send(ALERT)
    said = heard.got[0].json
    assert said["text"].startswith("free/&lt;!channel&gt; &amp; @everyone")
    assert said["blocks"][0] == {
        "type": "section",
        "text": {"type": "plain_text", "text": ALERT.text, "emoji": False},
    }
    assert [block["type"] for block in said["blocks"]] == ["section", "context"]


def test_discord_mentions_nobody(heard: Receiver) -> None:
    """Nor does one who is called "@everyone" there."""
    Webhook(heard.url, style="discord").send(ALERT)
    said = heard.got[0].json
    assert said["allowed_mentions"] == {"parse": []}
    [embed] = said["embeds"]
    assert (embed["title"], embed["description"]) == ("threshold 50 %", ALERT.text)
    assert isinstance(embed["color"], int)
    assert embed["timestamp"] == "2027-01-01T12:00:00+00:00"


def test_a_webhook_that_fails_is_tried_again_with_growing_pauses() -> None:
    """A receiver that restarts must not lose what it is told."""
    pauses = list[float]()
    with receiver(503, 500, 429) as heard:
        Webhook(heard.url, sleep=pauses.append).send(ALERT)
    assert len(heard.got) == 4
    assert [0.25 * 2**n <= pause <= 0.75 * 2**n for n, pause in enumerate(pauses)] == [True] * 3


def test_a_receiver_says_how_long_to_wait() -> None:
    """Within bounds: it might say a year."""
    pauses = list[float]()
    with receiver(429, headers={"Retry-After": "7"}) as heard:
        Webhook(heard.url, sleep=pauses.append).send(ALERT)
    with receiver(429, headers={"Retry-After": "99999999"}) as heard:
        Webhook(heard.url, sleep=pauses.append).send(ALERT)
    assert pauses == [7.0, 30.0]


def test_a_receiver_that_asks_for_no_number_of_seconds_is_asked_again_all_the_same() -> None:
    """ "nan" is a number to Python, and nobody can sleep for it."""
    pauses = list[float]()
    for asked in ("nan", "-1", "Wed, 21 Oct 2026 07:28:00 GMT"):
        with receiver(429, headers={"Retry-After": asked}) as heard:
            Webhook(heard.url, sleep=pauses.append).send(ALERT)
    assert [0.25 <= pause <= 0.75 for pause in pauses] == [True] * 3


def test_where_no_thread_begins_any_more_a_dead_sink_keeps_the_program_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some Pythons begin none at their end: there, five attempts of ten seconds would keep a script for a minute."""

    def none_begins(*_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(errands, "start_new_thread", none_begins)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        mail = Email("127.0.0.1", port, "b@example.com", "o@example.com", tls="none")
        for sink in (Webhook(f"http://127.0.0.1:{port}/"), mail):
            thread = SinkThread(sink)
            for _ in range(100):
                thread.put(ALERT)
            began_s = time.monotonic()
            assert not thread.drain(1.5)
            assert time.monotonic() - began_s < 8
            assert not thread.drain(0.0)
    assert "(attempt 1)" in caplog.text


@pytest.mark.parametrize("status", [400, 404, 410, 302])
def test_what_no_repetition_mends_is_not_repeated(status: int) -> None:
    """And a redirect is not followed: what is told stays with whom it was meant for."""
    with receiver(status, headers={"Location": "http://127.0.0.1:9/elsewhere"}) as heard:
        with pytest.raises(UndeliveredError, match=rf"it answered {status} \(attempt 1\)"):
            Webhook(heard.url).send(ALERT)
        assert len(heard.got) == 1


def test_attempts_are_bounded() -> None:
    """One alert must not keep all others waiting for ever."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/SECRET"
        pauses = list[float]()
        with pytest.raises(UndeliveredError) as failed:
            Webhook(url, sleep=pauses.append).send(ALERT)
    assert len(pauses) == ATTEMPTS - 1
    assert "SECRET" not in str(failed.value)


def test_a_receiver_that_never_answers_is_given_up(heard: Receiver) -> None:
    """It has accepted the connection, and that is all."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(UndeliveredError, match="timed out"):
            Webhook(url, timeout_s=0.05, sleep=lambda _: None).send(ALERT)


def test_mail_is_sent(mails: MailServer) -> None:
    """With the sentence as its subject, whatever is in it."""
    alert = Alert("spike", "free/a\nBcc: all@example.com", "x", 1_798_804_800_000)
    Email("127.0.0.1", mails.port, "b@example.com", ["o@example.com", "p@example.com"], tls="none").send(alert)
    [mail] = mails.mails
    assert "Subject: [budgetguard] free/a\\nBcc: all@example.com\n" in mail
    assert "\nBcc" not in mail.split("\n\n")[0]
    assert "To: o@example.com, p@example.com" in mail
    assert [line for line in mails.commands if line.lower().startswith("rcpt")] == [
        "rcpt TO:<o@example.com>",
        "rcpt TO:<p@example.com>",
    ]


def test_mail_that_is_refused_says_why(mails: MailServer) -> None:
    """Whoever tries their configuration reads this."""
    mails.refuses = "RCPT"
    with pytest.raises(UndeliveredError, match="SMTPRecipientsRefused"):
        Email("127.0.0.1", mails.port, "b@example.com", "o@example.com", tls="none").send(ALERT)


def test_mail_is_never_sent_in_the_open_where_it_is_to_be_encrypted(mails: MailServer) -> None:
    """A server that cannot do so, or somebody between, gets nothing, and no password."""
    with pytest.raises(UndeliveredError, match="STARTTLS"):
        Email("127.0.0.1", mails.port, "b@example.com", "o@example.com", "me", SECRET).send(ALERT)
    assert mails.mails == []
    assert not [line for line in mails.commands if line.startswith("AUTH")]


def test_no_secret_is_shown() -> None:
    """A repr goes into logs and tracebacks; the path of a chat's webhook is a key."""
    hook = Webhook("https://hooks.slack.com/services/T0/SECRET", SECRET, style="slack")
    mail = Email("smtp.example.com", 587, "b@example.com", "o@example.com", "me", SECRET)
    shown = f"{hook!r} {hook.name} {mail!r} {mail.name} {Alerts([hook, mail])!r}"
    assert SECRET not in shown
    assert "SECRET" not in shown
    assert (hook.name, mail.name) == ("slack hooks.slack.com", "email smtp.example.com")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Webhook("https://me:SECRET@hooks.example.com/x"),
        lambda: Webhook("https://hooks.example.com/SECRET and more"),
        lambda: Webhook("https://hooks.example.com/SECRET\u2026"),
        lambda: Alerts("https://hooks.example.com/SECRET"),
        lambda: Alerts(["https://hooks.example.com/SECRET"]),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_being_shown(make: Any) -> None:
    """Tried, each attempt would log it: Python's errors have the path and the password in them."""
    with pytest.raises(ConfigError) as refused:
        make()
    assert "SECRET" not in str(refused.value)


def test_an_address_may_end_with_a_line(heard: Receiver) -> None:
    """A variable that was filled from a file does."""
    Webhook(f"{heard.url}\n").send(ALERT)
    assert heard.got[0].path == "/services/T0/SECRET"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Webhook("hooks.slack.com/x"),
        lambda: Webhook("https://x..y/"),
        lambda: Webhook("https://x/", timeout_s="10"),  # type: ignore[arg-type]
        lambda: Webhook("https://x/", timeout_s=0),
        lambda: Email("h", 25, "a@b", "c@d", timeout_s=-1),
        lambda: Email("h", 25, "a@b", 3),  # type: ignore[arg-type]
        lambda: Alerts((), off=3),  # type: ignore[arg-type]
        lambda: Webhook("ftp://x/"),
        lambda: Webhook("http://x:port/"),
        lambda: Webhook("https://x/", ""),
        lambda: Webhook("https://x/", style="teams"),  # type: ignore[arg-type]
        lambda: Email("", 25, "a@b", "c@d"),
        lambda: Email("h", 0, "a@b", "c@d"),
        lambda: Email("h", 25, "nobody", "c@d"),
        lambda: Email("h", 25, "a@b", []),
        lambda: Email("h", 25, "a@b\r\nBcc: x", "c@d"),
        lambda: Email("h", 25, "a@b", "c@d", "me"),
        lambda: Email("h", 25, "a@b", "c@d", "me", "pw", tls="none"),
        lambda: Alerts("https://x/"),
        lambda: Alerts([3]),
        lambda: Alerts((), off=["nothing"]),
        lambda: Alerts((), off="spike"),
    ],
)
def test_what_cannot_be_told_is_refused_at_once(make: Any) -> None:
    """Not when the first alert is due."""
    with pytest.raises(ConfigError):
        make()


def test_the_log_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """It is what there is where nothing is configured."""
    Log().send(ALERT)
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [(logging.WARNING, ALERT.text)]


def test_a_sink_that_fails_is_logged_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    """A receiver that is gone for a night must not fill the disk."""
    now, tried = [0.0], list[Alert]()

    def fail(alert: Alert) -> None:
        tried.append(alert)
        raise ValueError("no")

    [sink] = Alerts([fail]).sinks
    thread = SinkThread(sink, time_s=lambda: now[0])
    for at_s in (0.0, 1.0, AGAIN_S, AGAIN_S + 1):
        now[0] = at_s
        thread.put(ALERT)
        assert thread.drain(20)
    assert len(tried) == 4
    assert [each.getMessage() for each in caplog.records if "ValueError: no" in each.getMessage()] == [
        f"{sink.name} was not told of {ALERT.text!r}: ValueError: no (said once an hour)"
    ] * 2


def test_a_sink_that_hangs_has_a_queue_with_an_end(caplog: pytest.LogCaptureFixture) -> None:
    """What waits for it may not grow for ever, and its being left out is said."""
    go, begun, told = threading.Event(), threading.Event(), list[Alert]()

    def hang(alert: Alert) -> None:
        begun.set()
        go.wait(30)
        told.append(alert)

    [sink] = Alerts([hang]).sinks
    thread = SinkThread(sink, most=3)
    thread.put(ALERT)
    assert begun.wait(20)
    for _ in range(5):
        thread.put(ALERT)
    go.set()
    until(lambda: len(told) == 4)
    assert len([each for each in caplog.records if "is not told of" in each.getMessage()]) == 1


def test_a_record_is_read_as_it_was_written() -> None:
    """What the command line and the page show is what was told."""
    record = ALERT.record(["log"])
    assert Alert.from_record(record) == ALERT
    assert json.loads(record.body)["sinks"] == ["log"]
