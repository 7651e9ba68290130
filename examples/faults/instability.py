"""Group 7, instability: a schedule multiplies the rate by 300 at step 25.

isograd check examples/faults/instability.py:target

The loop matters here, so `target` returns it as a fourth value.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

RATE = 0.05


def target():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32)
    labels = torch.tensor(labels)
    done = 0

    def step(model):
        rows = torch.randint(0, 1500, (64,))
        return F.cross_entropy(model(images[rows]), labels[rows])

    def train_step(model, optimizer):
        nonlocal done
        done += 1
        for group in optimizer.param_groups:
            group["lr"] = RATE if done < 25 else 300 * RATE
        optimizer.zero_grad()
        loss = step(model)
        loss.backward()
        optimizer.step()

    return model, step, optimizer, train_step
