

class PaddedConv2d(nn.Conv2d):
    """A convolution of an image with so many zeros on its sides: left, right, above, below."""

    def __init__(self, *sizes, sides, **options):
        super().__init__(*sizes, **options)
        self.sides = sides

    def forward(self, x):
        return super().forward(nn.functional.pad(x, self.sides))


class PaddedMaxPool2d(nn.Module):
    """`seen` is what the windows see around the image; negative, where they leave out some of it."""

    def __init__(self, window, stride, dilation, seen):
        super().__init__()
        self.window, self.stride, self.dilation, self.seen = window, stride, dilation, seen

    def forward(self, x):
        x = nn.functional.pad(x, self.seen, value=float("-inf"))
        return nn.functional.max_pool2d(x, self.window, self.stride, dilation=self.dilation)


class PaddedAvgPool2d(PaddedMaxPool2d):
    """A mean counts the image, and with `count_pad` the zeros on its sides, but nothing beyond them."""

    def __init__(self, window, stride, dilation, seen, sides, count_pad):
        super().__init__(window, stride, dilation, seen)
        self.sides, self.count_pad = sides, count_pad

    def sums(self, x, around):
        x = nn.functional.pad(x.flatten(0, 1).unsqueeze(1), around)
        return nn.functional.conv2d(x, torch.ones(1, 1, *self.window), stride=self.stride, dilation=self.dilation)

    def forward(self, x):
        ones = nn.functional.pad(torch.ones(1, 1, *x.shape[2:]), self.sides, value=float(self.count_pad))
        size = self.sums(ones, [seen - side for seen, side in zip(self.seen, self.sides)])
        sums = self.sums(x, self.seen)
        return (sums / size).reshape(*x.shape[:2], *sums.shape[2:])
