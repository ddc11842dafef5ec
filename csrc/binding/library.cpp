// Libraries of accelerators, loaded at run time.
#include <dlfcn.h>

#include "../core/registry.h"
#include "binding.h"

namespace g2rpo::binding {

namespace {

const AcceleratorLibrary& load(const std::string& path) {
  const auto refuse = [](const std::string& why) -> Error { return {"BACKEND_UNAVAILABLE", why}; };
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: its kernels stay registered
  if (!handle) throw refuse(std::string("the device's library does not load: ") + dlerror());
  const auto* library = static_cast<const AcceleratorLibrary*>(dlsym(handle, "g2rpo_library"));
  if (!library) throw refuse(path + " is no library of a device");
  if (std::string(library->sources) != G2RPO_SOURCES) throw refuse(path + " was built from other sources than the addon; build it again");
  return *library;
}

}  // namespace

std::shared_ptr<Accelerator> open_accelerator(const std::string& path) {
  const auto& library = load(path);
  std::shared_ptr<Accelerator> device(library.open());
  add_kernels(library.begin, library.end);
  return device;
}

Description describe_accelerator(const std::string& path) {
  const std::unique_ptr<Accelerator> device(load(path).open());
  return {device->description(), device->products()};
}

}  // namespace g2rpo::binding
