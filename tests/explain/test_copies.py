import gc
import threading
import weakref

import pytest
import torch
from torch import nn
from toys import hooks_of, pictures, shaken_densenet

from cxr.errors import ExplainError
from cxr.explain import frozen
from cxr.explain.frozen import borrowed, calm, forget, frozen_copy, itself, prepared


def kept(network):
    return prepared(network, itself, "copy")


def test_a_copy_is_frozen_in_evaluation_mode_and_has_the_logits_of_its_original():
    network = shaken_densenet(drop_rate=0.5).train()
    twin = frozen_copy(network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(module.training for module in twin.modules())
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    images = torch.from_numpy(pictures())
    with torch.no_grad():
        assert torch.equal(twin(images), network.eval()(images))


def test_hooks_are_neither_run_nor_copied_even_those_that_cannot_be_copied():
    network = shaken_densenet()
    hold = threading.Lock()  # which copy.deepcopy refuses

    class Logger:
        def __init__(self):
            self.lock = hold

        def hook(self, *_arguments):
            pytest.fail("the original's hook ran")

    network.features.conv0.register_forward_hook(Logger().hook)
    network.classifier.register_forward_pre_hook(Logger().hook, with_kwargs=True)
    twin = frozen_copy(network)
    twin(torch.from_numpy(pictures()))
    assert hooks_of(twin) == []
    assert len(hooks_of(network)) == 2


def test_tensors_that_layers_share_are_shared_in_the_copy():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    twin = frozen_copy(network)
    assert twin[1].weight is twin[0].weight
    assert twin[0].weight.data_ptr() != network[0].weight.data_ptr()


def test_a_network_that_cannot_be_copied_is_refused_by_name():
    network = nn.Sequential(nn.Linear(2, 2))
    network.guard = threading.Lock()
    with pytest.raises(ExplainError, match="Sequential cannot be copied"):
        frozen_copy(network)


def write_weight(network):
    network.features.conv0.weight.data[0, 0, 0, 0] += 1e-7  # autograd's version counter does not see it


def write_statistic(network):
    network.features.norm0.running_mean[3] += 1e-3


def write_counter(network):
    network.features.norm0.num_batches_tracked += 1


def write_eps(network):
    network.features.denseblock1.denselayer1.norm2.eps *= 2


def write_stride(network):
    network.features.pool0.stride = 1


def write_nan(network):
    network.classifier.bias.data[0] = float("nan")


def write_sign_of_zero(network):
    network.features.norm0.weight.data[0] = -0.0


def swap_values(network):
    weight = network.classifier.weight.data
    weight[0, :2] = weight[0, :2].flip(0)


def replace_layer(network):
    network.classifier = nn.Linear(network.classifier.in_features, 3)


def replace_activation(network):
    network.features.norm0.act = nn.SiLU()


def rename_layer(network):
    network.head = network.classifier
    del network.classifier


def drop_bias(network):
    network.classifier.bias = None


def make_double(network):
    network.double()


def reshape(network):
    network.classifier.weight.data = network.classifier.weight.data.reshape(-1, 3)


CHANGES = [
    write_weight,
    write_statistic,
    write_counter,
    write_eps,
    write_stride,
    write_nan,
    write_sign_of_zero,
    swap_values,
    replace_layer,
    replace_activation,
    rename_layer,
    drop_bias,
    make_double,
    reshape,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_copy_is_kept_until_something_of_the_network_changes(change):
    network = shaken_densenet()
    first = kept(network)
    assert kept(network) is first
    change(network)
    second = kept(network)
    assert second is not first
    assert kept(network) is second
    assert list(second.state_dict()) == list(network.state_dict())
    for name, tensor in network.state_dict().items():
        assert torch.equal(second.state_dict()[name].nan_to_num(), tensor.nan_to_num())


def test_mode_gradients_hooks_and_writes_of_the_same_number_are_no_change():
    network = shaken_densenet()
    first = kept(network)
    network.train().requires_grad_(False)
    network.classifier.weight.grad = torch.zeros_like(network.classifier.weight)
    network.classifier.register_forward_hook(lambda *_: None)
    network.classifier.weight.data.copy_(network.classifier.weight.data.clone())
    network.load_state_dict({name: tensor.clone() for name, tensor in network.state_dict().items()})
    assert kept(network) is first


def test_changes_are_seen_in_tensors_with_gaps_in_memory_and_in_plain_attributes():
    network = nn.Sequential(nn.Linear(4, 3))
    network[0].weight.data = torch.randn(3, 8)[:, ::2]
    network[0].scale = torch.ones(2)
    first = kept(network)
    assert kept(network) is first
    network[0].weight.data[2, 3] += 1
    second = kept(network)
    assert second is not first
    network[0].scale[1] = 2
    assert kept(network) is not second


def test_channels_last_networks_are_compared_by_content_too():
    network = shaken_densenet().to(memory_format=torch.channels_last)
    first = kept(network)
    assert kept(network) is first
    write_weight(network)
    assert kept(network) is not first


def test_the_way_that_is_quick_on_a_gpu_sees_the_same_changes():
    network = shaken_densenet()
    tensors, before = (list(n.state_dict().values()) for n in (network, frozen_copy(network)))
    assert {tensor.dtype for tensor in tensors} == {torch.float32, torch.int64}
    assert frozen._equal_when_joined(tensors, before)
    for change in (write_weight, write_counter, write_nan, write_sign_of_zero):
        change(network)
        assert not frozen._equal_when_joined(tensors, before)
        before = list(frozen_copy(network).state_dict().values())
        assert frozen._equal_when_joined(tensors, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_copy_of_a_network_on_a_gpu_is_kept_until_a_number_changes():
    network = shaken_densenet().cuda()
    first = kept(network)
    assert kept(network) is first
    write_weight(network)
    assert kept(network) is not first
    assert kept(network.cpu()).classifier.weight.is_cpu


def test_products_are_built_once_from_the_copy_and_anew_after_a_change():
    network, built = shaken_densenet(), []

    def doubled(twin):
        built.append(twin)
        return 2 * twin.classifier.weight

    first = prepared(network, doubled, "doubled")
    assert prepared(network, doubled, "doubled") is first
    assert built == [kept(network)]
    network.classifier.weight.data[:] = 1
    assert torch.equal(prepared(network, doubled, "doubled"), torch.full_like(first, 2))
    assert len(built) == 2


def test_eight_threads_at_once_build_a_product_once_and_share_it():
    network, built, products = shaken_densenet(), [], []
    start = threading.Barrier(8)

    def work():
        start.wait()
        products.append(prepared(network, lambda twin: built.append(twin) or object(), "product"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(products) == 8
    assert len(set(map(id, products))) == 1


def test_a_product_whose_making_fails_is_tried_again():
    network = shaken_densenet()
    with pytest.raises(ZeroDivisionError):
        prepared(network, lambda twin: 1 / 0, "product")
    assert prepared(network, lambda twin: 7, "product") == 7


def spoil(network):
    with borrowed(network, itself, "copy") as twin:
        twin.classifier.weight.data.zero_()
        raise KeyboardInterrupt


def test_a_failure_while_it_is_borrowed_makes_the_next_one_start_from_a_clean_copy():
    network = shaken_densenet()
    first = kept(network)
    with borrowed(network, itself, "copy") as twin:
        assert twin is first
    assert kept(network) is first
    with pytest.raises(KeyboardInterrupt):
        spoil(network)
    assert kept(network) is not first
    assert torch.equal(kept(network).classifier.weight, network.classifier.weight)


def test_one_thread_at_a_time_borrows_all_that_was_built_from_one_copy():
    network, inside, most = shaken_densenet(), [], []

    def work(key):
        for _ in range(20):
            with borrowed(network, itself, key):
                inside.append(key)
                most.append(len(inside))
                inside.remove(key)

    threads = [threading.Thread(target=work, args=(f"product {k % 2}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert max(most) == 1


def test_a_block_may_borrow_again_what_it_has_borrowed():
    network = shaken_densenet()
    with borrowed(network, itself, "copy") as outer, borrowed(network, itself, "copy") as inner:
        assert inner is outer


def test_forgetting_frees_the_copy_and_what_was_built_from_it():
    network = shaken_densenet()
    product = weakref.ref(prepared(network, lambda twin: nn.Linear(2, 2), "product"))
    twin = weakref.ref(kept(network))
    forget(network)
    gc.collect()
    assert twin() is None
    assert product() is None
    forget(network)


def test_copies_go_with_their_networks():
    network = shaken_densenet()
    twin = weakref.ref(kept(network))
    count = len(frozen._shelves)
    del network
    gc.collect()
    assert twin() is None
    assert len(frozen._shelves) == count - 1


def test_a_copy_made_inside_inference_mode_can_be_differentiated():
    network, images = shaken_densenet(), torch.from_numpy(pictures())
    with torch.inference_mode():
        twin = kept(network)
        with calm():
            leaf = images.clone().requires_grad_()
            twin(leaf).sum().backward()
    assert leaf.grad.abs().sum() > 0


def test_autocast_around_a_call_does_not_reach_into_it():
    layer, values = nn.Linear(4, 2), torch.randn(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert layer(values).dtype == torch.bfloat16
        with calm():
            inside = layer(values)
        assert layer(values).dtype == torch.bfloat16
    assert inside.dtype == torch.float32
    assert inside.requires_grad
