"""A voice session with a limit: each answer is held before it is asked for, and what the server begins is counted."""

import base64

import budgetguard
from budgetguard import BudgetExceededError
from budgetguard.testing import FakeSockets

# To run without a key and a network, the answers come from a provider on loopback, which answers after every second
# piece of sound. With a key, write `client = OpenAI()`.
provider = FakeSockets(tokens=40, audio=30, pause=2).start()
client = provider.client()
# ---------------------------------------------------------------------------------------------------------------
budgetguard.patch()
SOUND = base64.b64encode(bytes(48_000)).decode()  # a second of silence


def answers(connection):
    """Read until an answer is complete."""
    for event in connection:
        if event.type == "response.done":
            return event.response.usage.total_tokens


with budgetguard.budget(limit=0.50) as call, client.realtime.connect(model="gpt-realtime") as connection:
    connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
    connection.response.create(response={"max_output_tokens": 200})
    answers(connection)
    print(f"one answer: {call.spent}")

    for _ in range(2):
        connection.input_audio_buffer.append(audio=SOUND)
    answers(connection)  # nobody asked for this one
    print(f"and one that the server began: {call.spent}")

with budgetguard.budget(limit=0.003), client.realtime.connect(model="gpt-realtime") as connection:
    try:
        while True:
            for _ in range(2):
                connection.input_audio_buffer.append(audio=SOUND)
            answers(connection)
    except BudgetExceededError as refusal:
        print(f"the next piece of sound was refused: {refusal}")
provider.stop()
