"""How things look: amounts, charts, links; pure."""
