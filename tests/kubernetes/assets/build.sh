#!/usr/bin/env bash
# The programs of a Kubernetes control plane, from the Go module registry, and the definitions of the
# Gateway API beside them. What is there already is not built again. Some six minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")"

version=1.36.2
gateway=v1.6.1
folder=${KUBEBUILDER_ASSETS:-${XDG_CACHE_HOME:-$HOME/.cache}/ctrlplane-gitops/kubernetes-$version}

export GOWORK=off CGO_ENABLED=0 GOFLAGS=-mod=readonly
flags="-s -w"
# Without them a server says a version that clients cannot parse.
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=36"
  flags+=" -X $package.gitTreeState=clean -X $package.gitCommit=$(printf %040d 0)"
  flags+=" -X $package.buildDate=1970-01-01T00:00:00Z"
done

# build NAME PACKAGE: complete or not there at all.
build() {
  [[ -x $folder/$1 ]] && return
  echo "building $1" >&2
  go build -trimpath -p "${GOMAXPROCS:-2}" -ldflags "$flags" -o "$folder/.$1" "$2"
  mv "$folder/.$1" "$folder/$1"
}

mkdir -p "$folder"
# One at a time, whoever asks.
exec 9>"$folder/.lock"
flock 9
build etcd go.etcd.io/etcd/server/v3
for name in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
  build "$name" "k8s.io/kubernetes/cmd/$name"
done

if [[ ! -d $folder/gateway-api ]]; then
  # The module is in go.sum, but is no part of the build.
  source=$(go mod download -json "sigs.k8s.io/gateway-api@$gateway" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
  rm -rf "$folder/.gateway-api"
  cp -r "$source/config/crd/standard" "$folder/.gateway-api"
  chmod -R u+w "$folder/.gateway-api"
  mv "$folder/.gateway-api" "$folder/gateway-api"
fi
echo "$folder"
