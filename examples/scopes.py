"""`with budget(...)`: what a request, a job or a script may spend, one inside the other."""

import asyncio
import os

from openai import AsyncOpenAI, OpenAI

import budgetguard
from budgetguard import BudgetExceededError
from budgetguard.testing import FakeProvider

# To run without a key and a network, the answers come from a provider on loopback. With a key, leave these lines out.
provider = FakeProvider().start()
os.environ.update(OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="none")
# ---------------------------------------------------------------------------------------------------------------
client = OpenAI()
messages = [{"role": "user", "content": "Good morning"}]

with budgetguard.budget(limit=0.01, tags={"feature": "search"}) as job:
    client.chat.completions.create(model="gpt-4", messages=messages)
    print("the job spent", job.spent, "and has", job.remaining)
    with budgetguard.budget(limit=0.0012) as step:
        client.chat.completions.create(model="gpt-4", messages=messages)
        try:
            client.chat.completions.create(model="gpt-4", messages=messages)
        except BudgetExceededError as refusal:
            print("the step was refused:", refusal)
    print("the step spent", step.spent, "and the job", job.spent)


async def answer_all():
    async with AsyncOpenAI() as client, budgetguard.budget(limit=0.05) as batch:
        calls = [client.chat.completions.create(model="gpt-4", messages=messages) for _ in range(5)]
        await asyncio.gather(*calls)
        print("five at once spent", batch.spent)


asyncio.run(answer_all())

manager = budgetguard.BudgetManager(project_name="shop", store="memory://")
manager.create_budget(total_budget=1, user="ann", duration="daily")
with manager, budgetguard.budget(user="ann") as request:
    client.chat.completions.create(model="gpt-4", messages=messages)
    print("ann has", request.remaining, "left today" if request.resets_at else "for ever")
