"""An ordinary training program that knows nothing of isograd.

isograd run examples/train_digits.py
isograd run examples/train_digits.py --epochs 5 --activation sigmoid --lr 0.5
"""

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "silu": nn.SiLU}


def build(depth, width, activation):
    layers, size = [], 64
    for _ in range(depth):
        layers += [nn.Linear(size, width), ACTIVATIONS[activation]()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, 10))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--activation", choices=ACTIVATIONS, default="relu")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32)
    labels = torch.tensor(labels)
    train = TensorDataset(images[:1400], labels[:1400])
    batches = DataLoader(train, batch_size=options.batch, shuffle=True)

    model = build(options.depth, options.width, options.activation)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    for epoch in range(options.epochs):
        total = 0.0
        for x, y in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() / len(batches)
        with torch.no_grad():
            right = model(images[1400:]).argmax(1) == labels[1400:]
        print(f"epoch {epoch + 1:2}  loss {total:.4f}  accuracy {right.float().mean():.1%}")


if __name__ == "__main__":
    main()
