"""`@budgeted`: functions, coroutines and generators whose calls count on someone's budget."""

import asyncio
import os

from openai import AsyncOpenAI, OpenAI

from budgetguard import BudgetExceededError, BudgetManager, budgeted
from budgetguard.testing import FakeProvider

# To run without a key and a network, the answers come from a provider on loopback. With a key, leave these lines out.
provider = FakeProvider().start()
os.environ.update(OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="none")
# ---------------------------------------------------------------------------------------------------------------
manager = BudgetManager(project_name="shop", store="memory://")
for user in ("ann", "bob"):
    manager.create_budget(total_budget=1, user=user)


@budgeted(user="ann")
def answer(question):
    reply = OpenAI().chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": question}])
    return reply.choices[0].message.content


@budgeted(user=lambda user, question: user, tags={"feature": "chat"})
async def answer_async(user, question):
    async with AsyncOpenAI() as client:
        reply = await client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": question}])
    return reply.choices[0].message.content


@budgeted(user=lambda user: user)
def words(user):
    messages = [{"role": "user", "content": "Say something"}]
    for chunk in OpenAI().chat.completions.create(model="gpt-4", messages=messages, stream=True):
        yield chunk.choices[0].delta.content or ""


@budgeted(limit=0.0001, tags={"feature": "essay"}, enforce="hard")
def essay():
    return OpenAI().responses.create(model="gpt-4", input="Write an essay")


with manager:
    print(answer("How are you?"))
    print(asyncio.run(answer_async("bob", "How are you?")))
    print("".join(words("bob")))
    try:
        essay()
    except BudgetExceededError as refusal:
        print("refused:", refusal)

for user, record in manager.user_dict.items():
    print(user, record["current_cost"])
