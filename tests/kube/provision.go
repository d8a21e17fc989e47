package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const storageClass = "standard"

// runProvision gives every claim of the storage class a directory of its own,
// as a local volume. Kubernetes' built-in provisioner for tests is not used
// because its directories are all in /tmp, readable by root only, and, being
// hostPath volumes, ignore a pod's fsGroup; disks of a real cluster obey it.
func runProvision() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: provision KUBECONFIG DIRECTORY NODE")
		os.Exit(2)
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "provision:", err)
		os.Exit(1)
	}
	// The client's default of 5 requests per second would be the slowest part
	// of starting a StatefulSet.
	config.QPS, config.Burst = 500, 1000
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "provision:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	(&provisioner{client: client, directory: os.Args[2], node: os.Args[3]}).run(ctx)
}

type provisioner struct {
	client    kubernetes.Interface
	directory string
	node      string
}

func (p *provisioner) run(ctx context.Context) {
	// A failed step is tried again with the next resync.
	factory := informers.NewSharedInformerFactory(p.client, 2*time.Second)
	watch(factory.Core().V1().PersistentVolumeClaims().Informer(), func(claim *core.PersistentVolumeClaim) {
		if err := p.provision(ctx, claim); err != nil {
			fmt.Fprintf(os.Stderr, "claim %s/%s: %v\n", claim.Namespace, claim.Name, err)
		}
	})
	watch(factory.Core().V1().PersistentVolumes().Informer(), func(volume *core.PersistentVolume) {
		if err := p.remove(ctx, volume); err != nil {
			fmt.Fprintf(os.Stderr, "volume %s: %v\n", volume.Name, err)
		}
	})
	factory.Start(ctx.Done())
	<-ctx.Done()
}

func watch[T any](informer cache.SharedIndexInformer, changed func(T)) {
	see := func(object any) {
		if typed, ok := object.(T); ok {
			changed(typed)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    see,
		UpdateFunc: func(_, now any) { see(now) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "provision:", err)
		os.Exit(1)
	}
}

func (p *provisioner) provision(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	if claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName != storageClass ||
		claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(p.directory, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name},
		Spec: core.PersistentVolumeSpec{
			StorageClassName:              storageClass,
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimDelete,
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      claim.Spec.Resources.Requests,
			// Naming the claim is what keeps other claims off this volume.
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{
				Local: &core.LocalVolumeSource{Path: path},
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{
					MatchExpressions: []core.NodeSelectorRequirement{{
						Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{p.node},
					}},
				}},
			}},
		},
	}
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (p *provisioner) remove(ctx context.Context, volume *core.PersistentVolume) error {
	if volume.Spec.StorageClassName != storageClass || volume.Spec.Local == nil ||
		filepath.Dir(volume.Spec.Local.Path) != filepath.Clean(p.directory) ||
		volume.Status.Phase != core.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if errors.IsNotFound(err) {
		return nil
	}
	return err
}
