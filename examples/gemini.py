"""google-genai: a chat and its function calls, a stream, and what has no room left."""

import os

from google import genai

import budgetguard
from budgetguard import BudgetExceededError
from budgetguard.testing import FakeProvider

# To run without a key and a network, the answers come from a provider on loopback. With a key, leave these lines out.
provider = FakeProvider().start()
os.environ.update(GOOGLE_GEMINI_BASE_URL=provider.root_url, GEMINI_API_KEY="none")
# ---------------------------------------------------------------------------------------------------------------
budgetguard.patch()
client = genai.Client()


def weather(city: str) -> str:
    """Say what the weather is in a city."""
    return f"{city}: rain"


with budgetguard.budget(limit=0.01) as request:
    chat = client.chats.create(model="gemini-2.5-flash", config={"max_output_tokens": 500, "tools": [weather]})
    chat.send_message("Is it raining in Oslo?")
    print("a question, a function and its answer:", request.spent)
    for _ in client.models.generate_content_stream(model="gemini-2.5-flash", contents="Good morning"):
        pass
    print("and a stream:", request.spent)

with budgetguard.budget(limit=0.0001):
    try:
        client.models.generate_content(model="gemini-2.5-flash", contents="hi", config={"max_output_tokens": 500})
    except BudgetExceededError as refusal:
        print("refused:", refusal)

provider.stop()
